import type { Panel, Place } from './panel.ts'

/** A titled group of panels. */
export type Row = { readonly title: string; readonly panels: readonly Panel[] }

/** A row's heading or a panel, and where it stands. */
export type Placed =
  | { readonly heading: string; readonly place: Place }
  | { readonly panel: Panel; readonly place: Place }

/** Columns of Grafana's grid. */
const columns = 24

/** Places rows one below the other, and the panels of each from left to right, as lines of text are filled. */
export const place = (rows: readonly Row[]): readonly Placed[] => {
  const placed: Placed[] = []
  let y = 0
  for (const { title, panels } of rows) {
    placed.push({ heading: title, place: { x: 0, y, w: columns, h: 1 } })
    y++
    for (const line of linesOf(panels)) {
      let x = 0
      for (const panel of line) {
        const size = sizeOf(panel)
        placed.push({ panel, place: { x, y, ...size } })
        x += size.w
      }
      y += Math.max(...line.map((panel) => sizeOf(panel).h))
    }
  }
  return placed
}

const sizeOf = ({ kind, width, height }: Panel): Pick<Place, 'w' | 'h'> => {
  const small = kind === 'number'
  return { w: width ?? (small ? 4 : 8), h: height ?? (small ? 4 : 8) }
}

const linesOf = (panels: readonly Panel[]): Panel[][] => {
  const lines: Panel[][] = []
  let free = 0
  for (const panel of panels) {
    const { w } = sizeOf(panel)
    if (w > free) {
      lines.push([])
      free = columns
    }
    lines.at(-1)!.push(panel)
    free -= w
  }
  return lines
}
