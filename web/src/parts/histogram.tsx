/**
 * Bars side by side: the share of each bin, for every series. Heights are square roots, so that
 * small shares show.
 */
export function Histogram({
  title,
  bins,
  series,
}: {
  readonly title: string
  /** Names of the bins, from left to right. */
  readonly bins: readonly string[]
  readonly series: readonly {
    readonly label: string
    readonly color: string
    readonly counts: readonly number[]
  }[]
}) {
  const shares = series.map(({ counts }) => {
    const total = counts.reduce((sum, count) => sum + count, 0)
    return counts.map((count) => (total === 0 ? 0 : count / total))
  })
  const most = Math.max(0.05, ...shares.flat())
  const height = (share: number) => 44 * Math.sqrt(share / most)
  const width = 100 / bins.length
  const bar = (0.8 * width) / Math.max(1, series.length)
  const words = series
    .map(
      ({ label }, s) => `${label}: ${shares[s]!.map((x) => `${Math.round(100 * x)} %`).join(" ")}`,
    )
    .join("; ")
  return (
    <figure class="chart">
      <figcaption>
        {title}
        {series.length > 1 && (
          <span class="values">
            {series.map(({ label, color }) => (
              <span key={label}>
                <i class="swatch" style={{ background: `var(${color})` }} />
                {label}
              </span>
            ))}
          </span>
        )}
      </figcaption>
      <svg
        viewBox="0 0 100 46"
        preserveAspectRatio="none"
        class="histogram"
        role="img"
        aria-label={`${title}. ${words}`}
      >
        {shares.map((values, s) =>
          values.map((share, i) => (
            <rect
              key={`${s} ${i}`}
              x={i * width + 0.1 * width + s * bar}
              y={45 - height(share)}
              width={bar}
              height={height(share)}
              style={{ fill: `var(${series[s]!.color})` }}
            />
          )),
        )}
        <line x1="0" x2="100" y1="45" y2="45" class="base" />
      </svg>
      <div class="bins" aria-hidden="true">
        {bins.map((name) => (
          <span key={name}>{name}</span>
        ))}
      </div>
    </figure>
  )
}
