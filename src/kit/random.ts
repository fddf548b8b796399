/** A stream of numbers, each in [0, 1) and uniform to 53 bits. */
export type Random = () => number

/** The four words of a xoshiro128** generator; not all zero. */
export type XoshiroState = readonly [number, number, number, number]

const rotateLeft = (word: number, bits: number): number => (word << bits) | (word >>> (32 - bits))

/**
 * Unsigned 32-bit outputs of xoshiro128** from `state`.
 * Blackman and Vigna, https://prng.di.unimi.it/xoshiro128starstar.c
 */
export const xoshiro128 = (state: XoshiroState): (() => number) => {
  let [a, b, c, d] = state
  return () => {
    const output = Math.imul(rotateLeft(Math.imul(b, 5), 7), 9) >>> 0
    const shifted = b << 9
    c ^= a
    d ^= b
    b ^= c
    a ^= d
    c ^= shifted
    d = rotateLeft(d, 11)
    return output
  }
}

/** Well-mixed 32-bit words that follow from a seed: the finaliser of MurmurHash3 over a Weyl sequence. */
const mixed = (seed: number): (() => number) => {
  let weyl = seed | 0
  return () => {
    weyl = (weyl + 0x9e3779b9) | 0
    let word = Math.imul(weyl ^ (weyl >>> 16), 0x85ebca6b)
    word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35)
    return word ^ (word >>> 16)
  }
}

/** A stream that depends on nothing but `seed`, an integer from 0 to 2^53 - 1. */
export const seededRandom = (seed: number): Random => {
  const low = mixed(seed)
  const high = mixed(Math.floor(seed / 2 ** 32) ^ 0x5bd1e995)
  const next = xoshiro128([low(), high(), low(), high()])
  return () => ((next() >>> 5) * 2 ** 26 + (next() >>> 6)) / 2 ** 53
}
