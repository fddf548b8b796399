create table items (
  id uuid primary key,
  name text not null check (char_length(name) between 1 and 200),
  note text not null default '' check (char_length(note) <= 2000),
  quantity integer not null default 0 check (quantity >= 0),
  version integer not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
