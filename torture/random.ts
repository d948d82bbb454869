/** Draws that a seed repeats: Mulberry32. */
export interface Draw {
  /** From 0 to below 1. */
  (): number
  /** A whole number from 0 to below `below`. */
  readonly whole: (below: number) => number
  readonly of: <T>(choices: readonly T[]) => T
  /** What is drawn is used, and nothing is changed: right files, which must be read. */
  readonly still: boolean
}

export function drawer(seed: number, { still = false } = {}): Draw {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const whole = (below: number) => Math.floor(next() * below)
  return Object.assign(next, {
    still,
    whole,
    of: <T>(choices: readonly T[]) => choices[whole(choices.length)]!,
  })
}
