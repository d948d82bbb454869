/** How often one of k answers to a problem is right. */

/**
 * Unbiased pass@k of one problem with c of n samples correct: 1 - C(n - c, k) / C(n, k).
 * Source: Chen et al. 2021 (arXiv 2107.03374), equation 1, in its product form.
 *
 * @returns NaN when fewer than k samples exist.
 */
export function passAtK(n: number, c: number, k: number): number {
  if (k > n) return Number.NaN
  if (n - c < k) return 1
  let missed = 1
  for (let i = n - c + 1; i <= n; i++) missed *= 1 - k / i
  return 1 - missed
}

/** Mean over problems of pass@k. */
export function meanPassAtK(problems: readonly (readonly boolean[])[], k: number): number {
  return mean(
    problems.map((outcomes) => passAtK(outcomes.length, outcomes.filter(Boolean).length, k)),
  )
}

/** 1, 2, 4, ... up to n, and n itself. */
export function powersUpTo(n: number): number[] {
  const all: number[] = []
  for (let k = 1; k < n; k *= 2) all.push(k)
  return [...all, n]
}

const mean = (values: readonly number[]): number =>
  values.length === 0 ? Number.NaN : values.reduce((a, b) => a + b, 0) / values.length
