/** A line without axes: what came first is left, what is high is up. None of a single value. */
export function Sparkline({
  values,
  label,
}: {
  readonly values: readonly number[]
  readonly label: string
}) {
  const known = values.filter(Number.isFinite)
  if (known.length < 2) return null
  const [low, high] = [Math.min(...known), Math.max(...known)]
  const y = (value: number) => (high === low ? 12 : 22 - (20 * (value - low)) / (high - low))
  const points = known
    .map((value, i) => `${((100 * i) / (known.length - 1)).toFixed(1)},${y(value).toFixed(1)}`)
    .join(" ")
  const words = `${label}: from ${known[0]!.toPrecision(3)} to ${known.at(-1)!.toPrecision(3)}`
  return (
    <svg
      class="sparkline"
      viewBox="0 0 100 24"
      preserveAspectRatio="none"
      role="img"
      aria-label={words}
    >
      <polyline points={points} />
    </svg>
  )
}
