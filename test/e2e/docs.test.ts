import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Page } from 'playwright-core'
import { noBrowser, startBrowser } from '../support/browser.ts'
import { startTestService } from '../support/service.ts'
import { until } from '../support/until.ts'

/** What went wrong on a page, and whom it talked to. */
type Watched = { readonly complaints: string[]; readonly origins: Set<string> }

const watch = (page: Page): Watched => {
  const complaints: string[] = []
  const origins = new Set<string>()
  page.on('console', (message) => {
    if (message.type() !== 'log' && message.type() !== 'info') complaints.push(`${message.type()}: ${message.text()}`)
  })
  page.on('pageerror', (error) => complaints.push(String(error)))
  page.on('requestfailed', (request) => complaints.push(`${request.url()} ${request.failure()?.errorText}`))
  page.on('request', (request) => {
    if (!request.url().startsWith('data:')) origins.add(new URL(request.url()).origin)
  })
  return { complaints, origins }
}

const limit = { timeout: 20_000 }

test(
  'the page shows every operation, breaks no rule of its policy and talks to nobody else',
  { skip: noBrowser },
  async () => {
    await using service = await startTestService()
    await using browser = await startBrowser()
    const page = await browser.newPage({ viewport: { width: 1280, height: 1000 } })
    const { complaints, origins } = watch(page)

    const answer = await page.goto(`${service.url}/docs`)
    assert.match(
      answer!.headers()['content-security-policy']!,
      /^default-src 'none'; script-src 'self'; style-src 'self';/,
    )
    await page.waitForSelector('.opblock', limit)

    const { paths } = (await (await fetch(`${service.url}/openapi.json`)).json()) as { paths: Record<string, object> }
    const expected = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method} ${path}`),
    )
    const shown = await page.locator('.opblock').evaluateAll((blocks) =>
      blocks.map((block) => {
        const [method, path] = ['.opblock-summary-method', '.opblock-summary-path'].map(
          (part) => block.querySelector(part)!.textContent!,
        )
        // Invisible characters say where a long path may be broken.
        return `${method!.toLowerCase()} ${path!.replaceAll('\u200b', '')}`
      }),
    )
    assert.deepEqual(shown.toSorted(), expected.toSorted())

    // What is folded at first has styles and code of its own.
    for (const id of ['work-getWorkGather', 'items-putItemsById', 'probes-getReadyz']) {
      await page.locator(`#operations-${id} .opblock-summary-control`).click()
      await page.locator(`#operations-${id} .responses-table`).waitFor(limit)
    }

    assert.deepEqual(complaints, [])
    assert.deepEqual([...origins], [service.url])

    // The policy is in force, and the watch sees when it is broken.
    await page.locator('body').evaluate((body) => (body.innerHTML = '<img src="http://127.0.0.1:1/"><b style="top:0">'))
    await until('two violations', () => complaints.filter((line) => /Content Security Policy/.test(line)).length >= 2)
  },
)

test('an operation can be tried on the page, and those of the admin port cannot', { skip: noBrowser }, async () => {
  await using service = await startTestService()
  await using browser = await startBrowser()
  const page = await browser.newPage()
  const { complaints } = watch(page)
  await page.goto(`${service.url}/docs#/work/getWorkWait`)
  const wait = page.locator('#operations-work-getWorkWait')
  await wait.getByRole('button', { name: 'Try it out' }).click(limit)
  await wait.getByPlaceholder('ms').first().fill('7')
  await wait.getByRole('button', { name: 'Execute' }).click()
  const body = wait.locator('.live-responses-table .response-col_description .microlight').first()
  await body.waitFor(limit)
  assert.match(await body.innerText(), /"ms": 7/)

  const probe = page.locator('#operations-probes-getReadyz')
  await probe.locator('.opblock-summary-control').click()
  await probe.locator('.responses-table').waitFor(limit)
  assert.equal(await probe.getByRole('button', { name: 'Try it out' }).count(), 0)
  assert.deepEqual(complaints, [])
})
