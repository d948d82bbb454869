/** Charts as SVG text: no scripts, no fonts, nothing from outside. */
import { shortNumber } from "./units.ts"

export interface Series {
  readonly name: string
  readonly color: string
  readonly points: readonly (readonly [x: number, y: number])[]
}

const WIDTH = 440
const HEIGHT = 210
const LEFT = 48
const RIGHT = 10
const TOP = 10
const BOTTOM = 26
/** More points than this are averaged in buckets: a line of 440 pixels shows no more. */
const MAX_POINTS = 400
/** From this many points on, a smoothed line is drawn over the pale raw one. */
const SMOOTH_FROM = 60

export function escapeHtml(text: string): string {
  const entities: Record<string, string> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&#39;",
  }
  return text.replaceAll(/[&<>"']/g, (character) => entities[character]!)
}

/**
 * Lines over optimizer steps, `log` on an axis of powers of ten. Empty where no series has a finite
 * point.
 */
export function lineChart(
  title: string,
  series: readonly Series[],
  { log = false }: { log?: boolean } = {},
): string {
  const scaled = (y: number) => (log ? Math.log10(y) : y)
  const value = (y: number) => shortNumber(log ? 10 ** y : y)
  const drawn = series
    .map(({ points, ...one }) => ({
      ...one,
      points: points
        .map(([x, y]) => [x, scaled(y)] as const)
        .filter((point) => point.every(Number.isFinite)),
    }))
    .filter(({ points }) => points.length > 0)
  if (drawn.length === 0) return ""
  const all = drawn.flatMap(({ points }) => points)
  const [x0, x1] = extent(all.map(([x]) => x))
  const shown = clipSpikes(all.map(([, y]) => y))
  const ticks = log ? powerTicks(...shown) : niceTicks(...padded(shown))
  const [y0, y1] = [ticks[0]!, ticks.at(-1)!]
  const px = (x: number) => LEFT + ((x - x0) / (x1 - x0 || 1)) * (WIDTH - LEFT - RIGHT)
  const py = (y: number) => {
    const clamped = Math.min(Math.max(y, y0), y1)
    return HEIGHT - BOTTOM - ((clamped - y0) / (y1 - y0 || 1)) * (HEIGHT - TOP - BOTTOM)
  }
  const path = (points: Series["points"]) =>
    points
      .map(([x, y], k) => `${k === 0 ? "M" : "L"}${px(x).toFixed(1)} ${py(y).toFixed(1)}`)
      .join("")
  const lines = drawn.map(({ name, color, points }) => {
    const thinned = bucketed(points)
    const end = points.at(-1)!
    const label = `<title>${escapeHtml(name)}: ${value(end[1])} at step ${end[0]}</title>`
    if (thinned.length === 1) {
      const [x, y] = thinned[0]!
      return `<circle cx="${px(x).toFixed(1)}" cy="${py(y).toFixed(1)}" r="3" fill="${color}">${label}</circle>`
    }
    const raw = `<path class="raw" d="${path(thinned)}" stroke="${color}"/>`
    if (thinned.length < SMOOTH_FROM)
      return `<path d="${path(thinned)}" stroke="${color}">${label}</path>`
    return `${raw}<path d="${path(smoothed(thinned))}" stroke="${color}">${label}</path>`
  })
  const rows = ticks.map((y) => {
    const at = py(y).toFixed(1)
    return `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${at}" y2="${at}"/><text x="${LEFT - 6}" y="${at}" dy="3.5" text-anchor="end">${value(y)}</text>`
  })
  const columns = stepTicks(x0, x1).map((x) => {
    return `<text x="${px(x).toFixed(1)}" y="${HEIGHT - 8}" text-anchor="middle">${x}</text>`
  })
  return `<figure><figcaption>${escapeHtml(title)}</figcaption><svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escapeHtml(title)} by step"><g class="grid">${rows.join("")}${columns.join("")}</g>${lines.join("")}</svg></figure>`
}

/** Where the paper's bins (figure 2) begin: below 0.1 by powers of ten, then 0.1 wide. */
const PAPER_BINS = [..."0 1e-4 1e-3 1e-2 .1 .2 .3 .4 .5 .6 .7 .8 .9".split(" ")] as const

/** Counts in the paper's 13 bins from an event's ten and three. */
export function paperBins({
  bins,
  small_bins,
}: {
  readonly bins: readonly number[]
  readonly small_bins: readonly number[]
}): number[] {
  const small = small_bins.reduce((a, b) => a + b, 0)
  return [...small_bins, Math.max(0, (bins[0] ?? 0) - small), ...bins.slice(1)]
}

/**
 * Shares of tokens by probability, before and after, on a logarithmic axis from 1e-4 to 1 as in the
 * paper. Each of `sets` is 13 counts.
 */
export function histogramChart(
  title: string,
  sets: readonly {
    readonly name: string
    readonly color: string
    readonly counts: readonly number[]
  }[],
): string {
  const floor = 1e-4
  const inner = WIDTH - LEFT - RIGHT
  const slot = inner / PAPER_BINS.length
  const width = (slot - 4) / sets.length
  const height = (share: number) =>
    share < floor ? 0 : (1 + Math.log10(share) / 4) * (HEIGHT - TOP - BOTTOM)
  const bars = sets.flatMap(({ name, color, counts }, s) => {
    const total = counts.reduce((a, b) => a + b, 0) || 1
    return counts.map((count, k) => {
      const share = count / total
      const h = height(share)
      const x = LEFT + k * slot + 2 + s * width
      return `<rect x="${x.toFixed(1)}" y="${(HEIGHT - BOTTOM - h).toFixed(1)}" width="${width.toFixed(1)}" height="${h.toFixed(1)}" fill="${color}"><title>${escapeHtml(name)}, p from ${PAPER_BINS[k]!}: ${(100 * share).toFixed(2)} % of tokens</title></rect>`
    })
  })
  const rows = [1, 0.1, 0.01, 0.001, 0.0001].map((share) => {
    const y = (HEIGHT - BOTTOM - (1 + Math.log10(share) / 4) * (HEIGHT - TOP - BOTTOM)).toFixed(1)
    return `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y}" y2="${y}"/><text x="${LEFT - 6}" y="${y}" dy="3.5" text-anchor="end">${100 * share} %</text>`
  })
  const columns = PAPER_BINS.map((bin, k) => {
    return `<text x="${(LEFT + (k + 0.5) * slot).toFixed(1)}" y="${HEIGHT - 8}" text-anchor="middle">${bin}</text>`
  })
  return `<figure><figcaption>${escapeHtml(title)}</figcaption><svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escapeHtml(title)}"><g class="grid">${rows.join("")}${columns.join("")}</g>${bars.join("")}</svg></figure>`
}

function extent(values: readonly number[]): [number, number] {
  return values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [
    Infinity,
    -Infinity,
  ] as [number, number])
}

/** The range without lone spikes: they are drawn at the edge, so that the rest can be read. */
function clipSpikes(values: readonly number[]): [number, number] {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (share: number) => sorted[Math.round(share * (sorted.length - 1))]!
  const [low, high] = [at(0.005), at(0.995)]
  const room = 0.5 * (high - low)
  return [Math.max(sorted[0]!, low - room), Math.min(sorted.at(-1)!, high + room)]
}

function padded([low, high]: [number, number]): [number, number] {
  if (low !== high) return [low, high]
  const room = Math.abs(low) * 0.1 || 1
  return [low - room, high + room]
}

/** Round numbers that enclose the range, four to seven of them. */
export function niceTicks(low: number, high: number): number[] {
  const rough = (high - low) / 4
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((m) => m >= rough * 0.999)!
  const first = Math.floor(low / step + 1e-9)
  const last = Math.ceil(high / step - 1e-9)
  return Array.from({ length: last - first + 1 }, (_, k) =>
    Number(((first + k) * step).toPrecision(12)),
  )
}

/** Whole exponents that enclose the range. */
function powerTicks(low: number, high: number): number[] {
  const first = Math.floor(low)
  const last = Math.max(first + 1, Math.ceil(high))
  const stride = Math.ceil((last - first) / 6)
  const count = Math.ceil((last - first) / stride) + 1
  return Array.from({ length: count }, (_, k) => last - (count - 1 - k) * stride)
}

function stepTicks(x0: number, x1: number): number[] {
  if (x0 === x1) return [x0]
  return niceTicks(x0, x1).filter((x) => Number.isInteger(x) && x >= x0 && x <= x1)
}

function bucketed(points: Series["points"]): Series["points"] {
  if (points.length <= MAX_POINTS) return points
  return Array.from({ length: MAX_POINTS }, (_, k) => {
    const from = Math.floor((k * points.length) / MAX_POINTS)
    const part = points.slice(from, Math.floor(((k + 1) * points.length) / MAX_POINTS))
    const mean = (index: 0 | 1) => part.reduce((sum, point) => sum + point[index], 0) / part.length
    return [mean(0), mean(1)] as const
  })
}

/**
 * A centred moving average over a fifteenth of the points; it does not lag as an exponential one
 * does.
 */
function smoothed(points: Series["points"]): Series["points"] {
  const reach = Math.max(1, Math.floor(points.length / 30))
  return points.map(([x], k) => {
    const part = points.slice(Math.max(0, k - reach), k + reach + 1)
    return [x, part.reduce((sum, [, y]) => sum + y, 0) / part.length] as const
  })
}
