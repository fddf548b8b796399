import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Failure } from '../../../src/kit/errors.ts'
import { Places } from '../../../src/service/db/places.ts'

const isBusy = (error: unknown): boolean => error instanceof Failure && error.code === 'database-busy'
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
const gone = new Error('the client went away')

test('places are taken in the order of asking, and one waiter more than allowed is refused', async () => {
  const places = new Places({ size: 2, maxWaiting: 3, timeoutMs: 10_000 })
  const taken: number[] = []
  const take = (i: number): Promise<void> => places.take().then(() => void taken.push(i))
  const all = [0, 1, 2, 3, 4].map(take)
  await assert.rejects(places.take(), isBusy)
  await settle()
  assert.deepEqual([taken, places.waiting], [[0, 1], 3])
  for (const expected of [
    [0, 1, 2],
    [0, 1, 2, 3],
    [0, 1, 2, 3, 4],
  ]) {
    places.giveBack()
    await settle()
    assert.deepEqual(taken, expected)
  }
  await Promise.all(all)
})

test('who goes away leaves the queue at once, and no place is lost, also when both come in one turn', async () => {
  for (const order of ['leave, then give back', 'give back, then leave'] as const) {
    const places = new Places({ size: 1, maxWaiting: 2, timeoutMs: 10_000 })
    await places.take()
    const client = new AbortController()
    const leaving = places.take(client.signal)
    const staying = places.take()
    const steps = [(): void => client.abort(gone), (): void => places.giveBack()]
    for (const step of order.startsWith('leave') ? steps : steps.toReversed()) step()
    // Who has the place already when it goes away gives it back like any other.
    await leaving.then(
      () => places.giveBack(),
      (error: unknown) => assert.equal(error, gone),
    )
    await staying
    assert.equal(places.waiting, 0)
    places.giveBack()
    await places.take()
  }
})

test('who waits too long is refused, who has gone before is not let in', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const places = new Places({ size: 1, maxWaiting: 1, timeoutMs: 200 })
  await assert.rejects(places.take(AbortSignal.abort(gone)), gone)
  await places.take()
  const waiting = assert.rejects(places.take(), isBusy)
  t.mock.timers.tick(199)
  assert.equal(places.waiting, 1)
  t.mock.timers.tick(1)
  assert.equal(places.waiting, 0)
  await waiting
})
