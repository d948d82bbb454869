/** Numbers beside an axis, and how much of it is shown. */

const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 2 })

/** As many digits as neighbours need to differ; `step` is 0 where they are powers of ten. */
export function tickText(tick: number | null, step: number): string {
  if (tick === null) return "" // between the decades of a logarithmic axis
  if (tick === 0 && step < 1e-4) return "0"
  if (step === 0) return fourDigits(tick)
  if (tick !== 0 && Math.abs(tick) >= 1e4) return compactText(tick, step)
  if (step < 1e-4) {
    if (Math.abs(tick) >= 1e-3) return tick.toFixed(digitsOf(step, 9))
    return tick.toExponential(Math.max(1, decade(tick) - decade(step)))
  }
  return tick.toFixed(digitsOf(step))
}

const decade = (value: number) => Math.floor(Math.log10(Math.abs(value)))

/** Of steps of 0.25 two, of 0.2 one, of 50 none. */
function digitsOf(step: number, most = 4): number {
  for (let digits = 0; digits < most; digits++) {
    const scaled = step * 10 ** digits
    if (Math.abs(scaled - Math.round(scaled)) < 1e-6 * scaled) return digits
  }
  return most
}

/** What differs by less, relative to its size, is the same number rounded otherwise. */
const ROUNDING = 1e-6

/** All values with some room; about values that are all the same, a tenth of their size or one. */
export function shownRange(
  low: number | null,
  high: number | null,
): [number, number] | [null, null] {
  if (low === null || high === null) return [null, null]
  const isSame = high - low <= ROUNDING * Math.abs(high)
  const room = isSame ? 0.1 * Math.abs(low) || 1 : 0.06 * (high - low)
  const from = low >= 0 ? Math.max(0, low - room) : low - room
  return [from, high + room]
}

/** `2.1B`, `2.105B`: thousands, millions or billions of which steps can be told apart. */
function compactText(tick: number, step: number): string {
  const unit = 10 ** (3 * Math.floor(Math.log10(Math.abs(tick)) / 3))
  const digits = digitsOf(step / unit, 9)
  return new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: digits }).format(
    tick,
  )
}

/** Four digits, whatever the size. */
export const fourDigits = (value: number): string => {
  const size = Math.abs(value)
  if (size >= 1e5) return COMPACT.format(value)
  return size !== 0 && size < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4)))
}
