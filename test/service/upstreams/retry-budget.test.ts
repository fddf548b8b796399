import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { reserve, RetryBudget } from '../../../src/service/upstreams/retry-budget.ts'

test('whatever comes in whatever order, the budget pays for the share of the requests and the reserve', () => {
  const percents = fc.integer({ min: 1, max: 100 })
  fc.assert(
    fc.property(percents, fc.array(fc.boolean(), { maxLength: 500 }), (percent, events) => {
      const budget = new RetryBudget(percent / 100)
      let [deposits, withdrawals] = [0, 0]
      for (const isRequest of events) {
        if (isRequest) {
          budget.deposit()
          deposits += 1
        } else if (budget.withdraw()) withdrawals += 1
        assert.ok(withdrawals * 100 <= deposits * percent + reserve * 100)
      }
    }),
  )
})

const emptied = (budget: RetryBudget): number => {
  let paid = 0
  while (budget.withdraw()) paid += 1
  return paid
}

test('ten requests earn one attempt at a tenth, exactly', () => {
  const budget = new RetryBudget(0.1)
  emptied(budget)
  for (let i = 0; i < 9; i += 1) budget.deposit()
  assert.equal(budget.withdraw(), false)
  budget.deposit()
  assert.deepEqual([budget.withdraw(), budget.withdraw()], [true, false])
})

test('a long calm saves up no more than the reserve', () => {
  const budget = new RetryBudget(0.1)
  for (let i = 0; i < 10_000; i += 1) budget.deposit()
  assert.equal(emptied(budget), reserve)
})

test('a share of nothing pays for nothing, not even at the start', () => {
  const budget = new RetryBudget(0)
  budget.deposit()
  assert.equal(emptied(budget), 0)
})
