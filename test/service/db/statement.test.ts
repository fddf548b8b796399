import assert from 'node:assert/strict'
import { test } from 'node:test'
import { claimIdempotencyKey } from '../../../src/service/db/queries/claim-idempotency-key.ts'
import { deleteExpiredIdempotencyKeys } from '../../../src/service/db/queries/delete-expired-idempotency-keys.ts'
import { listItems } from '../../../src/service/db/queries/list-items.ts'
import { sleep } from '../../../src/service/db/queries/sleep.ts'
import { commit } from '../../../src/service/db/queries/transaction-control.ts'
import { updateWorlds } from '../../../src/service/db/queries/update-worlds.ts'
import { statement } from '../../../src/service/db/statement.ts'

const summaries = [
  [claimIdempotencyKey, 'INSERT idempotency_keys', 'INSERT', 'idempotency_keys'],
  [deleteExpiredIdempotencyKeys, 'DELETE idempotency_keys', 'DELETE', 'idempotency_keys'],
  [listItems, 'SELECT items', 'SELECT', 'items'],
  [sleep, 'SELECT pg_sleep', 'SELECT', undefined],
  [commit, 'COMMIT', 'COMMIT', undefined],
  [updateWorlds, 'UPDATE world', 'UPDATE', 'world'],
  [statement('one', 'select 1', () => 1), 'SELECT', 'SELECT', undefined],
] as const

for (const [{ name, summary }, text, operation, table] of summaries) {
  test(`the statement ${name} is called ${text}`, () => {
    assert.deepEqual(summary, { text, operation, table })
  })
}
