import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

// Imports go one way: main -> cli -> {service, lab, observability} -> contract -> kit. Inside these, some rooms know
// still less.
const root = fileURLToPath(new URL('../src/', import.meta.url))

type Import = { readonly from: string; readonly to: string }

const sources = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((path) => /\.tsx?$/.test(path))

const textOf = (path: string): string => readFileSync(join(root, path), 'utf8')

const importShape = /(?:\bfrom|\bimport\(?|new URL\()\s*['"]([^'"]+)['"]/g

const importsOf = (path: string): Import[] =>
  [...textOf(path).matchAll(importShape)].map(([, name]) => {
    const to = name!.startsWith('.') ? relative(root, join(root, dirname(path), name!)) : `package:${name!}`
    return { from: path, to }
  })

const imports = sources.flatMap(importsOf)

const within = (folder: string) => (path: string) => path === folder || path.startsWith(`${folder}/`)

/** A part of the tree, and what of ours it may import besides itself. */
const floors: readonly { readonly part: string; readonly may: readonly string[] }[] = [
  { part: 'kit', may: [] },
  { part: 'contract', may: ['kit'] },
  { part: 'service', may: ['contract', 'kit'] },
  { part: 'lab', may: ['contract', 'kit'] },
  { part: 'observability', may: ['contract', 'kit'] },
  { part: 'cli', may: ['service', 'lab', 'observability', 'contract', 'kit'] },
  { part: 'main.ts', may: ['cli'] },
  { part: 'service/work', may: ['contract', 'kit'] },
  { part: 'service/db', may: ['contract', 'kit'] },
  { part: 'service/http', may: ['contract', 'kit'] },
  { part: 'service/admission', may: ['service/http', 'service/valkey.ts', 'contract', 'kit'] },
  { part: 'service/cache', may: ['service/valkey.ts', 'contract', 'kit'] },
  { part: 'service/faults', may: ['service/http', 'service/work', 'contract', 'kit'] },
  { part: 'service/uploads', may: ['contract', 'kit'] },
  { part: 'service/upstreams', may: ['contract', 'kit'] },
  { part: 'lab/load', may: ['contract', 'kit'] },
  { part: 'lab/fleet', may: ['contract', 'kit'] },
]

for (const { part, may } of floors) {
  test(`${part} imports of ours only itself${may.map((other) => `, ${other}`).join('')}`, () => {
    const allowed = [part, ...may].map(within)
    const ours = imports.filter(({ from, to }) => within(part)(from) && !to.startsWith('package:'))
    const wrong = ours.filter(({ to }) => !to.startsWith('..') && !allowed.some((ok) => ok(to)))
    assert.deepEqual(wrong, [])
  })
}

/** What stays out of a part: words of code, and why the one that uses them must be elsewhere. */
const bans: readonly { readonly part: string; readonly words: RegExp; readonly law: string }[] = [
  { part: 'service/work', words: /package:(koa|@koa\/|pg$)/, law: 'work knows no HTTP and no SQL' },
  { part: 'service/db', words: /package:(koa|@koa\/)/, law: 'db knows no HTTP' },
  { part: 'service/cache', words: /package:(koa|@koa\/|pg$)/, law: 'the cache knows no HTTP and no SQL' },
  { part: 'service/uploads', words: /package:(koa|@koa\/|pg$)/, law: 'the storage of uploads knows no Koa and no SQL' },
  { part: 'service/admission/limiter.ts', words: /koa/, law: 'the limiter knows no Koa' },
  { part: 'lab/load', words: /package:(koa|pg$|commander)/, law: 'load knows neither server, database nor flags' },
]

for (const { part, words, law } of bans) {
  test(law, () => {
    assert.deepEqual(
      imports.filter(({ from, to }) => within(part)(from) && words.test(to)),
      [],
    )
  })
}

const codeOf = (path: string): string =>
  textOf(path)
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/\/\/.*$/gm, '')

const filesWith = (words: RegExp, except: RegExp): string[] =>
  sources.filter((path) => !except.test(path)).filter((path) => words.test(codeOf(path)))

test('the wall clock and randomness are parameters below cli', () => {
  assert.deepEqual(filesWith(/\bDate\.now\(|\bMath\.random\b|new Date\(\)/, /^(cli\/|main\.ts)/), [])
})

test('the environment and the command line are parameters below cli', () => {
  assert.deepEqual(filesWith(/process\.(env|argv)\b/, /^(cli\/|main\.ts)/), [])
})

test('only main.ts ends the process and listens to signals', () => {
  assert.deepEqual(filesWith(/process\.exit\b|process\.(on|once)\(\s*['"]SIG/, /^main\.ts$/), [])
})

test('these checks see what they look for', () => {
  assert.ok(imports.some(({ from, to }) => from === 'main.ts' && to === 'cli/commands.ts'))
  assert.ok(imports.some(({ from, to }) => from === 'service/app.ts' && to === 'service/http/lean-koa.ts'))
  assert.deepEqual(filesWith(/process\.exit\b/, /^$/), ['main.ts'])
})

test('no file is a drawer', () => {
  assert.deepEqual(
    sources.filter((path) => /(^|\/)(helpers?|utils?|lib|misc|common)(\/|\.)/.test(path)),
    [],
  )
})
