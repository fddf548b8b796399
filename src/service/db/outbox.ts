import type { Value } from './statement.ts'

/** The part of a socket that an outbox writes to. */
export type Sink = { readonly writable: boolean; write(bytes: Buffer): boolean }

/** When what has gathered is written: at once, or after the events that are ready now have been handled. */
export type Flush = 'at-once' | 'after-ready-events'

const slabBytes = 65_536

/**
 * Encodes messages of the PostgreSQL frontend protocol 3.0 straight into one buffer and writes them together. Statements
 * of many requests that arrive in the same turn of the event loop then cost one system call, not one each.
 *
 * Bytes `[#start, #end)` of the slab are encoded and not yet written. What was written is never touched again, because
 * the kernel may still be reading it.
 *
 * Format: https://www.postgresql.org/docs/current/protocol-message-formats.html
 */
export class Outbox {
  readonly #sink: Sink
  readonly #flush: Flush
  #slab = Buffer.allocUnsafeSlow(slabBytes)
  #start = 0
  #end = 0
  #flushing = false

  constructor(sink: Sink, flush: Flush) {
    this.#sink = sink
    this.#flush = flush
  }

  /** Close of a prepared statement; not an error where there is none. */
  close(name: string): void {
    const nameBytes = Buffer.byteLength(name)
    const length = 4 + 1 + nameBytes + 1
    this.#room(1 + length)
    this.#byte(letter.close)
    this.#int32(length)
    this.#byte(letter.statement)
    this.#text(name, nameBytes)
    this.#byte(0)
  }

  /** Parse: prepares `text` under `name`, with the parameters' types left to the server. */
  parse(name: string, text: string): void {
    const nameBytes = Buffer.byteLength(name)
    const textBytes = Buffer.byteLength(text)
    const length = 4 + nameBytes + 1 + textBytes + 1 + 2
    this.#room(1 + length)
    this.#byte(letter.parse)
    this.#int32(length)
    this.#text(name, nameBytes)
    this.#byte(0)
    this.#text(text, textBytes)
    this.#byte(0)
    this.#int16(0)
  }

  /** Bind, Execute and Sync of a prepared statement: all parameters and all results as text, every row. */
  execute(name: string, values: readonly Value[]): void {
    const texts = values.map((value) => (value === null ? null : String(value)))
    const nameBytes = Buffer.byteLength(name)
    const valueBytes = texts.map((text) => (text === null ? -1 : Buffer.byteLength(text)))
    const length = valueBytes.reduce((sum, bytes) => sum + 4 + Math.max(bytes, 0), 4 + 1 + nameBytes + 1 + 2 + 2 + 2)
    this.#room(1 + length + executeAndSync.length)
    this.#byte(letter.bind)
    this.#int32(length)
    this.#byte(0)
    this.#text(name, nameBytes)
    this.#byte(0)
    this.#int16(0)
    this.#int16(texts.length)
    for (let i = 0; i < texts.length; i++) this.#value(texts[i]!, valueBytes[i]!)
    this.#int16(0)
    executeAndSync.copy(this.#slab, this.#end)
    this.#end += executeAndSync.length
    this.#written()
  }

  #value(text: string | null, bytes: number): void {
    this.#int32(bytes)
    if (text !== null) this.#text(text, bytes)
  }

  #written(): void {
    if (this.#flush === 'at-once') return this.flush()
    if (this.#flushing) return
    this.#flushing = true
    setImmediate(flushOutbox, this)
  }

  /** Writes what has gathered. */
  flush(): void {
    this.#flushing = false
    if (this.#start === this.#end) return
    const bytes = this.#slab.subarray(this.#start, this.#end)
    this.#start = this.#end
    // A connection that is gone has already failed its queries.
    if (this.#sink.writable) this.#sink.write(bytes)
  }

  /** Makes sure that `bytes` more fit behind `#end`. */
  #room(bytes: number): void {
    if (this.#end + bytes <= this.#slab.length) return
    const gathered = this.#slab.subarray(this.#start, this.#end)
    this.#slab = Buffer.allocUnsafeSlow(Math.max(slabBytes, gathered.length + bytes))
    gathered.copy(this.#slab)
    this.#start = 0
    this.#end = gathered.length
  }

  #byte(value: number): void {
    this.#slab[this.#end++] = value
  }

  #int16(value: number): void {
    this.#end = this.#slab.writeInt16BE(value, this.#end)
  }

  #int32(value: number): void {
    this.#end = this.#slab.writeInt32BE(value, this.#end)
  }

  #text(text: string, bytes: number): void {
    this.#slab.write(text, this.#end, bytes, 'utf8')
    this.#end += bytes
  }
}

const letter = { parse: 0x50, bind: 0x42, close: 0x43, statement: 0x53 } as const

// Execute of the unnamed portal without a row limit, then Sync.
const executeAndSync = Buffer.from([0x45, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0x53, 0, 0, 0, 4])

const flushOutbox = (outbox: Outbox): void => outbox.flush()
