import escapeHtml from 'escape-html'

type Fortune = { readonly id: number; readonly message: string }

/** The page of the TechEmpower fortunes test: one more fortune than stored, in the order of their messages, escaped. */
export const fortunesPage = (stored: readonly Fortune[]): string => {
  const fortunes = [...stored, { id: 0, message: 'Additional fortune added at request time.' }]
  fortunes.sort((a, b) => (a.message < b.message ? -1 : a.message > b.message ? 1 : 0))
  const rows = fortunes.map(({ id, message }) => `<tr><td>${id}</td><td>${escapeHtml(message)}</td></tr>`)
  return `<!DOCTYPE html><html><head><title>Fortunes</title></head><body><table><tr><th>id</th><th>message</th></tr>${rows.join('')}</table></body></html>`
}
