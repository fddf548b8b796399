import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Limiter, type LimiterOptions } from '../../../src/service/admission/limiter.ts'
import { type Rank, Waiting } from '../../../src/service/admission/queue.ts'

class Request extends Waiting {
  readonly id: number

  constructor(id: number, rank: Rank) {
    super(rank)
    this.id = id
  }
}

const critical: Rank = 0
const normal: Rank = 1
const sheddable: Rank = 2

const options: LimiterOptions = { maxInFlight: 1, queueLength: 3, queueTimeoutMs: 100, queueOrder: 'fifo' }

const make = (parts: Partial<LimiterOptions> = {}): Limiter<Request> => new Limiter({ ...options, ...parts })

/** Queues requests of these ranks, named 1, 2, 3, and returns them. */
const fill = (limiter: Limiter<Request>, ranks: readonly Rank[]): Request[] =>
  ranks.map((rank, i) => {
    const request = new Request(i + 1, rank)
    limiter.enqueue(request, i)
    return request
  })

/** Serves one after another, and says in which order. */
const served = (limiter: Limiter<Request>): number[] => {
  const ids: number[] = []
  for (let request = limiter.next(); request !== undefined; request = limiter.next()) {
    ids.push(request.id)
    limiter.release()
  }
  return ids
}

test('with limit 1 and no queue exactly one is served at a time, and the rest is shed at once', () => {
  const limiter = make({ queueLength: 0 })
  assert.equal(limiter.admit(normal), true)
  for (const rank of [critical, normal, sheddable] as const) {
    const request = new Request(1, rank)
    assert.equal(limiter.admit(rank), false)
    assert.equal(limiter.enqueue(request, 0), request)
  }
  limiter.release()
  assert.equal(limiter.admit(sheddable), true)
})

test('those who wait are served in the order of their arrival, or the other way round', () => {
  for (const [queueOrder, order] of [
    ['fifo', [1, 2, 3]],
    ['lifo', [3, 2, 1]],
  ] as const) {
    const limiter = make({ queueOrder })
    fill(limiter, [normal, normal, normal])
    assert.deepEqual(served(limiter), order)
  }
})

test('the more important are served first', () => {
  const limiter = make({ queueLength: 6 })
  fill(limiter, [sheddable, normal, critical, sheddable, normal, critical])
  assert.deepEqual(served(limiter), [3, 6, 2, 5, 1, 4])
})

test('nobody passes one that waits and is as important', () => {
  const limiter = make({ maxInFlight: 10 })
  fill(limiter, [normal])
  assert.equal(limiter.admit(normal), false)
  assert.equal(limiter.admit(sheddable), false)
  assert.equal(limiter.admit(critical), true)
})

test('a critical one that meets a full queue takes the place of the newest of the least important', () => {
  const limiter = make({ queueLength: 4 })
  const [a, b, c, d] = fill(limiter, [sheddable, normal, sheddable, normal])
  const shed = [5, 6, 7, 8].map((id) => limiter.enqueue(new Request(id, critical), 10))
  assert.deepEqual(shed, [c, a, d, b])
  const late = new Request(9, critical)
  assert.equal(limiter.enqueue(late, 10), late)
  assert.deepEqual(served(limiter), [5, 6, 7, 8])
})

test('sheddable ones leave the last tenth of the slots free, but for a single one', () => {
  for (const [maxInFlight, most] of [
    [1, 1],
    [2, 1],
    [10, 9],
    [11, 9],
    [100, 90],
  ] as const) {
    const limiter = make({ maxInFlight })
    while (limiter.admit(sheddable));
    assert.equal(limiter.inFlight, most)
    while (limiter.admit(normal));
    assert.equal(limiter.inFlight, maxInFlight)
  }
})

test('one that has waited for the timeout is taken out, the longest first, whatever its priority', () => {
  const limiter = make()
  const [first, second, third] = fill(limiter, [sheddable, critical, normal])
  assert.equal(limiter.expiresAtMs, 100)
  assert.equal(limiter.expire(99.9), undefined)
  assert.equal(limiter.expire(101), first)
  assert.equal(limiter.expire(101), second)
  assert.equal(limiter.expire(101), undefined)
  assert.equal(limiter.expiresAtMs, 102)
  assert.equal(limiter.withdraw(third!), true)
  assert.equal(limiter.withdraw(third!), false)
  assert.equal(limiter.expiresAtMs, Infinity)
})

test('a lower limit takes nothing from those in flight, and lets none in until enough have ended', () => {
  const limiter = make({ maxInFlight: 4 })
  while (limiter.admit(normal));
  limiter.setLimit(2)
  assert.deepEqual([limiter.inFlight, limiter.limit], [4, 2])
  limiter.release()
  limiter.release()
  assert.equal(limiter.admit(critical), false)
  limiter.release()
  assert.equal(limiter.admit(critical), true)
  limiter.setLimit(99)
  assert.equal(limiter.limit, 4)
  limiter.setLimit(0)
  assert.equal(limiter.limit, 1)
})

type Step =
  | { readonly do: 'arrive'; readonly rank: Rank }
  | { readonly do: 'release' | 'next' | 'expire' }
  | { readonly do: 'withdraw' | 'limit'; readonly n: number }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('arrive'), rank: fc.constantFrom(critical, normal, sheddable) }),
  },
  { weight: 5, arbitrary: fc.record({ do: fc.constantFrom('release', 'next', 'expire') }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('withdraw', 'limit'), n: fc.nat(20) }) },
)

/** What a limiter should do, said with a plain list. */
class Model {
  readonly options: LimiterOptions
  limit: number
  inFlight = 0
  waiting: Request[] = []
  readonly ended = new Map<number, number>()

  constructor(options: LimiterOptions) {
    this.options = options
    this.limit = options.maxInFlight
  }

  end(request: Request): void {
    this.ended.set(request.id, (this.ended.get(request.id) ?? 0) + 1)
  }

  remove(request: Request): void {
    this.waiting = this.waiting.filter((other) => other !== request)
  }

  hasSlot(rank: Rank): boolean {
    return this.inFlight < (rank === sheddable ? Math.max(1, this.limit - Math.ceil(this.limit / 10)) : this.limit)
  }

  next(): Request | undefined {
    const first = [...this.waiting].sort((a, b) => a.rank - b.rank)[0]
    if (first === undefined || !this.hasSlot(first.rank)) return undefined
    const alike = this.waiting.filter(({ rank }) => rank === first.rank)
    return this.options.queueOrder === 'fifo' ? alike[0] : alike.at(-1)
  }

  victim(request: Request): Request | undefined {
    if (this.waiting.length < this.options.queueLength) return undefined
    const lowest = Math.max(...this.waiting.map(({ rank }) => rank))
    return lowest > request.rank ? this.waiting.findLast(({ rank }) => rank === lowest) : request
  }
}

test('whatever happens in whatever order, it does what a plain list would do, and each request ends once', () => {
  const limits = fc.record({
    maxInFlight: fc.integer({ min: 1, max: 12 }),
    queueLength: fc.nat(6),
    queueTimeoutMs: fc.integer({ min: 1, max: 30 }),
    queueOrder: fc.constantFrom('fifo', 'lifo'),
  })
  fc.assert(
    fc.property(limits, fc.array(step, { maxLength: 120, size: 'max' }), (options, steps) => {
      const limiter = new Limiter<Request>(options)
      const model = new Model(options)
      let id = 0
      const act: Record<Step['do'], (step: Step, nowMs: number) => void> = {
        arrive: (step, nowMs) => {
          const request = new Request(++id, (step as { rank: Rank }).rank)
          const { rank } = request
          const admitted = model.hasSlot(rank) && !model.waiting.some((other) => other.rank <= rank)
          assert.equal(limiter.admit(rank), admitted)
          if (admitted) {
            model.inFlight++
            return model.end(request)
          }
          const victim = model.victim(request)
          assert.equal(limiter.enqueue(request, nowMs), victim)
          if (victim !== undefined) model.end(victim)
          if (victim !== undefined) model.remove(victim)
          if (victim !== request) model.waiting.push(request)
        },
        release: () => {
          if (model.inFlight === 0) return
          model.inFlight--
          limiter.release()
        },
        next: () => {
          const request = model.next()
          assert.equal(limiter.next(), request)
          if (request === undefined) return
          model.inFlight++
          model.remove(request)
          model.end(request)
        },
        expire: (_, nowMs) => {
          for (let request = limiter.expire(nowMs); request !== undefined; request = limiter.expire(nowMs)) {
            assert.equal(request, model.waiting[0])
            assert.ok(nowMs - request.queuedAtMs >= options.queueTimeoutMs)
            model.remove(request)
            model.end(request)
          }
          assert.ok(limiter.expiresAtMs > nowMs)
        },
        withdraw: (step) => {
          const request = model.waiting[(step as { n: number }).n % Math.max(1, model.waiting.length)]
          if (request === undefined) return
          assert.equal(limiter.withdraw(request), true)
          model.remove(request)
          model.end(request)
        },
        limit: (step) => {
          model.limit = Math.max(1, Math.min((step as { n: number }).n, options.maxInFlight))
          limiter.setLimit((step as { n: number }).n)
        },
      }
      for (const [nowMs, step] of steps.entries()) {
        act[step.do](step, nowMs)
        assert.deepEqual([limiter.inFlight, limiter.queued], [model.inFlight, model.waiting.length])
        assert.ok(limiter.queued <= options.queueLength)
      }
      for (const request of model.waiting) limiter.withdraw(request)
      for (const request of model.waiting) model.end(request)
      assert.deepEqual(
        [...model.ended.values()],
        Array.from({ length: id }, () => 1),
      )
    }),
    { seed: 1, numRuns: 500 },
  )
})
