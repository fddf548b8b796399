import { cpSync, rmSync } from 'node:fs'

// tsc emits only what it compiles; the migrations stand beside the code that reads them.
const target = new URL('../dist/service/db/migrations/', import.meta.url)
rmSync(target, { recursive: true, force: true })
cpSync(new URL('../src/service/db/migrations/', import.meta.url), target, { recursive: true })
