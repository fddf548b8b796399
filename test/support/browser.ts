import { existsSync } from 'node:fs'
import { type Browser, chromium } from 'playwright-core'
import { requirement } from './requirement.ts'

/** Where distributions install it. */
const places = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
const executablePath = places.find((path) => existsSync(path))

/** For the `skip` option of a test that needs a browser. */
export const noBrowser: false | string = requirement('chromium', executablePath !== undefined)

/** No sandbox, for tests may run as root in a container; and no request of the browser's own. */
const args = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-dev-shm-usage',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-default-apps',
  '--disable-sync',
  '--no-first-run',
]

/** Starts the system's Chromium without a window; closed by `await using`. */
export const startBrowser = (): Promise<Browser> =>
  chromium.launch({ executablePath: executablePath!, args, headless: true })
