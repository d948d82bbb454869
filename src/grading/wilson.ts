/** 97.5 % quantile of the normal distribution. */
export const Z975 = 1.959963984540054

/**
 * Wilson's 95 % interval of a share of `count`: no point even where it is 0 or 1 (Wilson 1927, eq.
 * 4).
 */
export function wilsonInterval(share: number, count: number): [number, number] {
  const z2 = Z975 * Z975
  if (share === 0) return [0, z2 / (count + z2)]
  if (share === 1) return [1 - z2 / (count + z2), 1]
  const middle = (share + z2 / (2 * count)) / (1 + z2 / count)
  const reach = Math.sqrt((share * (1 - share)) / count + z2 / (4 * count * count))
  const half = (Z975 * reach) / (1 + z2 / count)
  return [middle - half, middle + half]
}
