import { readFile } from 'node:fs/promises'

/** A file of the page, as it is sent. */
export type DocsFile = { readonly type: string; readonly read: () => string | Promise<Buffer> }

/** Where the package keeps what it is made of: two of its files are used, and none of its pages. */
const fromPackage = (name: string, type: string): DocsFile => ({
  type,
  read: () => readFile(new URL(import.meta.resolve(`swagger-ui-dist/${name}`))),
})

const page = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Plimsoll API</title>
<link rel="icon" href="/docs/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="stylesheet" href="/docs/page.css">
</head>
<body>
<main id="api"></main>
<noscript>This page needs JavaScript. The document itself is <a href="/openapi.json">/openapi.json</a>.</noscript>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
`

/** Nothing can be tried on the admin port from here: it is another origin, which the page may not talk to. */
const start = `'use strict'
const onThisOrigin = {
  statePlugins: {
    spec: {
      wrapSelectors: {
        allowTryItOutFor: () => (state, path, method) =>
          state.getIn(['json', 'paths', path, method, 'servers']) === undefined,
      },
    },
  },
}
SwaggerUIBundle({
  url: '/openapi.json',
  dom_id: '#api',
  deepLinking: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
  plugins: [onThisOrigin],
})
`

const style = `body { margin: 0; background: #fff }
.swagger-ui .wrapper { max-width: 1100px }
.swagger-ui .info { margin: 32px 0 }
.swagger-ui .info summary { cursor: pointer; font-size: 14px }
.swagger-ui .info table { width: auto }
.swagger-ui .info table td { padding: 4px 16px 4px 0 }
.swagger-ui .scheme-container { margin: 0 0 16px; padding: 16px 0 }
.swagger-ui .response-col_links { display: none }
noscript { display: block; margin: 2em; font-family: sans-serif }
`

const icon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" fill="none" stroke="#0b4f6c" stroke-width="3">
<circle cx="16" cy="16" r="9.5"/><path d="M1 16h30"/></svg>
`

/** The page with the API's documents: Swagger UI, and around it no more than it needs to start. */
export const docsPage: DocsFile = { type: 'text/html; charset=utf-8', read: () => page }

/** What the page loads, by name. */
export const docsFiles: Readonly<Record<string, DocsFile>> = {
  'start.js': { type: 'text/javascript; charset=utf-8', read: () => start },
  'page.css': { type: 'text/css; charset=utf-8', read: () => style },
  'icon.svg': { type: 'image/svg+xml', read: () => icon },
  'swagger-ui.css': fromPackage('swagger-ui.css', 'text/css; charset=utf-8'),
  'swagger-ui-bundle.js': fromPackage('swagger-ui-bundle.js', 'text/javascript; charset=utf-8'),
}
