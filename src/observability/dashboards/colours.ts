/**
 * What a series tells, and its colour, the same on every dashboard. The colours are Okabe and Ito's, told apart by every kind
 * of colour vision: https://jfly.uni-koeln.de/color/
 */
export const colours = {
  ok: '#009E73',
  slow: '#E69F00',
  error: '#D55E00',
  limit: '#CC79A7',
  usual: '#0072B2',
  second: '#56B4E9',
  third: '#F0E442',
} as const

export type Meaning = keyof typeof colours
