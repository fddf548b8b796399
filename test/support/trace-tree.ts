import type { CollectedSpan } from './collector.ts'

/** A span with those below it, in the order in which they began. */
export type TraceNode = { readonly span: CollectedSpan; readonly children: readonly TraceNode[] }

/** The spans of one trace as a tree. Throws where they make none: two roots, or a span that hangs from nothing. */
export const traceTree = (spans: readonly CollectedSpan[], traceId: string): TraceNode => {
  const own = spans.filter((span) => span.traceId === traceId)
  const ids = new Set(own.map(({ spanId }) => spanId))
  const roots = own.filter(({ parentSpanId }) => parentSpanId === undefined || !ids.has(parentSpanId))
  if (roots.length !== 1) throw new Error(`${roots.length} roots: ${roots.map(({ name }) => name).join(', ')}`)
  return nodeOf(roots[0]!, own)
}

const nodeOf = (span: CollectedSpan, all: readonly CollectedSpan[]): TraceNode => {
  const children = all.filter(({ parentSpanId }) => parentSpanId === span.spanId)
  return { span, children: children.toSorted((a, b) => a.startMs - b.startMs).map((child) => nodeOf(child, all)) }
}

/** Its names and nesting alone: `root(first(below) second)`. */
export const shapeOf = ({ span, children }: TraceNode): string =>
  children.length === 0 ? span.name : `${span.name}(${children.map(shapeOf).join(' ')})`

/** All nodes of the tree. */
export const nodesOf = (node: TraceNode): TraceNode[] => [node, ...node.children.flatMap(nodesOf)]

/** The tree as text: who made each span, of what kind, when it began after the root and how long it took, in ms. */
export const writeTree = (root: TraceNode): string => {
  const lines = linesOf(root, '', '')
  const width = Math.max(...lines.map(([tree]) => tree.length))
  return lines
    .map(([tree, { resource, kind, startMs, endMs }]) => {
      const [at, took] = [startMs - root.span.startMs, endMs - startMs].map((ms) => ms.toFixed(1).padStart(6))
      const instance = String(resource['service.instance.id'])
      return `${tree.padEnd(width)}  ${instance.padEnd(9)}  ${kind.padEnd(8)}  ${at}  ${took}`
    })
    .join('\n')
}

type Line = readonly [tree: string, span: CollectedSpan]

const linesOf = ({ span, children }: TraceNode, own: string, below: string): Line[] => {
  const upstream = span.attributes['plimsoll.upstream']
  const name = typeof upstream === 'string' ? `${span.name} [${upstream}]` : span.name
  return [
    [own + name, span],
    ...children.flatMap((child, i) => {
      const isLast = i === children.length - 1
      return linesOf(child, `${below}${isLast ? '└─ ' : '├─ '}`, `${below}${isLast ? '   ' : '│  '}`)
    }),
  ]
}
