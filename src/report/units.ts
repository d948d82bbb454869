/** Numbers as people read them, for the terminal and the report. */

/** ` in bf16`, where a run says what its products are rounded to. */
export const precisionText = (dtype: string | undefined): string =>
  dtype === undefined ? "" : ` in ${dtype}`

/** Of the NLL of a run's own precision: how far it is above float32's. */
export function gapText(gap: number): string {
  const size = shortNumber(Math.abs(gap), 2)
  return `in bf16 ${gap === 0 ? "the same" : `${size} ${gap > 0 ? "more" : "less"}`}`
}

/** Three or four significant digits, exponents only far from 1: `0.0712`, `12.3`, `2.1e-6`. */
export function shortNumber(value: number | null | undefined, digits = 3): string {
  if (value === null || value === undefined) return "–"
  if (!Number.isFinite(value)) return String(value)
  if (value === 0) return "0"
  const size = Math.abs(value)
  if (size >= 1e6 || size < 1e-4)
    return value.toExponential(1).replace(".0e", "e").replace("e+", "e")
  return String(
    Number(value.toPrecision(size >= 10 ** digits ? Math.ceil(Math.log10(size)) : digits)),
  )
}

/** `950`, `12.3k`, `4.56M`, `7.00B`. */
export function shortCount(value: number): string {
  for (const [unit, letter] of [
    [1e9, "B"],
    [1e6, "M"],
    [1e3, "k"],
  ] as const) {
    if (Math.abs(value) >= unit) return `${(value / unit).toPrecision(3)}${letter}`
  }
  return String(Math.round(value))
}

/** Decimal units: `812 MB`, `2.1 GB`. */
export function shortBytes(bytes: number): string {
  for (const [unit, name] of [
    [1e9, "GB"],
    [1e6, "MB"],
    [1e3, "kB"],
  ] as const) {
    if (bytes >= unit) return `${(bytes / unit).toFixed(bytes < 10 * unit ? 1 : 0)} ${name}`
  }
  return `${bytes} B`
}

/** As {@link shortDuration}, with parts of a second where there are few: `0.26s`, `4.1s`. */
export function shortSeconds(seconds: number): string {
  return seconds >= 0 && seconds < 9.95
    ? `${Number(seconds.toPrecision(2))}s`
    : shortDuration(seconds)
}

/** `42s`, `3m 12s`, `1h 05m`, `2d 03h`. */
export function shortDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds))
  const two = (value: number) => String(value).padStart(2, "0")
  if (whole < 60) return `${whole}s`
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${two(whole % 60)}s`
  if (whole < 86_400) return `${Math.floor(whole / 3600)}h ${two(Math.floor(whole / 60) % 60)}m`
  return `${Math.floor(whole / 86_400)}d ${two(Math.floor(whole / 3600) % 24)}h`
}
