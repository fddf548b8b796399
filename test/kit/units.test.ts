import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  formatDuration,
  formatMs,
  formatRate,
  formatShare,
  parseDurationMs,
  parseRatePerSecond,
  parseShare,
  parseWhole,
} from '../../src/kit/units.ts'

const check = <Value>(parse: (text: string) => Value, cases: Readonly<Record<string, Value>>): void => {
  for (const [text, value] of Object.entries(cases)) assert.equal(parse(text), value, JSON.stringify(text))
}

const refuses = (parse: (text: string) => unknown, texts: readonly string[]): void => {
  for (const text of texts) assert.equal(parse(text), undefined, JSON.stringify(text))
}

test('a duration is a number with a unit', () => {
  check(parseDurationMs, { '250ms': 250, '30s': 30_000, '5m': 300_000, '1h': 3_600_000, '1.5s': 1_500, '500us': 0.5 })
  refuses(parseDurationMs, ['', '30', 's', '-1s', '1 s', '1e3s', '1.s', '10S', '1s2', 'NaNs', '1d'])
})

test('a rate is a number, with or without /s', () => {
  check(parseRatePerSecond, { '500': 500, '500/s': 500, '0.5': 0.5, '.5/s': 0.5 })
  refuses(parseRatePerSecond, ['', '/s', '-1', '1e3', '500/m', '500 /s', 'Infinity'])
})

test('a share is a percentage', () => {
  check(parseShare, { '1%': 0.01, '0.1%': 0.001, '100%': 1 })
  refuses(parseShare, ['', '%', '1', '1 %', '-1%'])
})

test('a whole number has digits only and is exact', () => {
  check(parseWhole, { '0': 0, '007': 7, '9007199254740991': 9_007_199_254_740_991 })
  refuses(parseWhole, ['', '-1', '1.5', '1e3', '0x10', '9007199254740993', '99999999999999999999'])
})

test('values are shown with their unit and about three digits', () => {
  check((text) => formatMs(Number(text)), { '0.614': '0.61 ms', '12.34': '12.3 ms', '1234.5': '1,235 ms' })
  check((text) => formatDuration(Number(text)), {
    '250': '250 ms',
    '2500': '2.5 s',
    '90000': '90 s',
    '300000': '5 min',
  })
  check((text) => formatRate(Number(text)), { '199.84': '199.8/s', '12345.6': '12,346/s' })
  check((text) => formatShare(Number(text)), { '0': '0 %', '0.000412': '0.041 %', '0.5023': '50.2 %', '1': '100 %' })
})
