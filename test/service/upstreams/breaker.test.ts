import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Breaker } from '../../../src/service/upstreams/breaker.ts'

const make = (): Breaker => new Breaker({ failures: 3, openMs: 100 })

const failAt = (breaker: Breaker, nowMs: number): void => breaker.fail(breaker.enter(), nowMs)

const opened = (): Breaker => {
  const breaker = make()
  for (let i = 0; i < 3; i += 1) failAt(breaker, 0)
  return breaker
}

test('it opens at the last of so many failures in a row, not before', () => {
  const breaker = make()
  failAt(breaker, 0)
  failAt(breaker, 0)
  assert.equal(breaker.state, 'closed')
  failAt(breaker, 0)
  assert.deepEqual([breaker.state, breaker.admits(0)], ['open', false])
})

test('a success between makes the row start again; an abandoned attempt does not', () => {
  const breaker = make()
  failAt(breaker, 0)
  failAt(breaker, 0)
  breaker.succeed(breaker.enter())
  failAt(breaker, 0)
  failAt(breaker, 0)
  breaker.abandon(breaker.enter())
  assert.equal(breaker.state, 'closed')
  failAt(breaker, 0)
  assert.equal(breaker.state, 'open')
})

test('when its time is over it lets one trial through and no one beside it', () => {
  const breaker = opened()
  assert.deepEqual([breaker.admits(99.9), breaker.admits(100)], [false, true])
  breaker.enter()
  assert.deepEqual([breaker.state, breaker.admits(100), breaker.admits(1e9)], ['half-open', false, false])
})

test('the success of the trial closes it, its failure opens it for the whole time', () => {
  const healed = opened()
  healed.succeed(healed.enter())
  assert.deepEqual([healed.state, healed.admits(100)], ['closed', true])
  const sick = opened()
  failAt(sick, 150)
  assert.deepEqual([sick.state, sick.admits(249), sick.admits(250)], ['open', false, true])
})

test('after an abandoned trial the next attempt is the trial', () => {
  const breaker = opened()
  breaker.abandon(breaker.enter())
  assert.deepEqual([breaker.state, breaker.admits(100)], ['open', true])
})

test('what was sent before it opened does not decide the trial', () => {
  const breaker = make()
  const [first, second, third, fourth] = [breaker.enter(), breaker.enter(), breaker.enter(), breaker.enter()]
  for (let i = 0; i < 3; i += 1) failAt(breaker, 0)
  breaker.succeed(first)
  assert.equal(breaker.state, 'open')
  breaker.enter()
  breaker.succeed(second)
  breaker.fail(third, 100)
  breaker.abandon(fourth)
  assert.equal(breaker.state, 'half-open')
})

test('however attempts go, it is never half-open without a trial under way', () => {
  const ends = fc.constantFrom('succeed', 'fail', 'abandon')
  fc.assert(
    fc.property(fc.array(fc.tuple(ends, fc.nat(150), fc.nat(3)), { maxLength: 200 }), (steps) => {
      const breaker = make()
      const underWay: { readonly generation: number }[] = []
      let [nowMs, trial] = [0, -1]
      for (const [end, passedMs, which] of steps) {
        nowMs += passedMs
        if (breaker.admits(nowMs)) {
          const isTrial = breaker.state === 'open'
          const pass = breaker.enter()
          underWay.push(pass)
          if (isTrial) trial = pass.generation
        }
        const [pass] = underWay.splice(which, 1)
        if (pass !== undefined) breaker[end](pass, nowMs)
        const tried = underWay.filter(({ generation }) => generation === trial).length
        if (breaker.state === 'half-open') assert.equal(tried, 1)
        else if (breaker.state === 'open') assert.equal(tried, 0)
      }
    }),
  )
})
