-- The first request with a key holds its row locked until it commits together with its effect; the others wait on it.
create table idempotency_keys (
  key text primary key check (char_length(key) between 1 and 255),
  fingerprint text not null,
  answer text,
  expires_at timestamptz not null
);

create index idempotency_keys_expires_at on idempotency_keys (expires_at);
