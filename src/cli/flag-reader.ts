import { InputError, type Mistake } from '../kit/errors.ts'

/** Reads flags and collects every mistake in them, so that one report names all. */
export class FlagReader {
  readonly #mistakes: Mistake[] = []

  /**
   * What `parse` makes of `text`. Where it makes undefined, or there is no text, a mistake is noted and the value
   * must not be used: `check` will throw.
   */
  read<Value>(
    field: string,
    text: string | undefined,
    parse: (text: string) => Value | undefined,
    accepted: string,
  ): Value {
    const value = text === undefined ? undefined : parse(text)
    if (value === undefined) this.#mistakes.push({ field, value: text, accepted })
    return value as Value
  }

  /** Throws an InputError when there was any mistake. */
  check(): void {
    if (this.#mistakes.length > 0) throw new InputError(this.#mistakes)
  }
}

/** A parser that keeps what `parse` finds when it lies within the bounds, both included. */
export const within =
  (min: number, max: number, parse: (text: string) => number | undefined) =>
  (text: string): number | undefined => {
    const value = parse(text)
    return value !== undefined && value >= min && value <= max ? value : undefined
  }

/** A parser of one of `words`. */
export const oneOf =
  <const Word extends string>(words: readonly Word[]) =>
  (text: string): Word | undefined =>
    words.find((word) => word === text)
