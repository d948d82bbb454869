/** How far a long piece of work is, in one line that says how long it will still take. */
import { shortBytes, shortCount, shortDuration } from "./units.ts"

const CELLS = 16
/** Earlier a rate is a guess. */
const SETTLED_MS = 500

interface MeterOptions {
  /** What is counted: `rows`, `tensors`; `bytes` are written as such. */
  readonly unit: string
  /** Milliseconds from any beginning. */
  readonly now?: () => number
}

/** A line for each state of the work. */
export type Meter = (done: number, total: number) => string

/**
 * A meter that begins now. `done` may begin above 0, where work is gone on with: the rate is of
 * what was done since.
 *
 *     loading models/qwen ████████░░░░░░░░  50 % · 146 of 290 tensors · 31.2/s · left 5s
 */
export function progressMeter(
  what: string,
  { unit, now = () => performance.now() }: MeterOptions,
): Meter {
  const began = now()
  let first: number | undefined
  const count = (value: number) => (unit === "bytes" ? shortBytes(value) : shortCount(value))
  return (done, total) => {
    first ??= done
    const share = total > 0 ? Math.min(1, Math.max(0, done / total)) : 0
    const filled = Math.floor(share * CELLS)
    const bar = "█".repeat(filled) + "░".repeat(CELLS - filled)
    const percent = `${Math.floor(100 * share)} %`.padStart(5)
    const of = unit === "bytes" ? "" : ` ${unit}`
    const all = total > 0 ? ` of ${count(total)}` : ""
    const parts = [`${what} ${bar} ${percent}`, `${count(done)}${all}${of}`]
    const elapsed = now() - began
    if (done > first && elapsed >= SETTLED_MS) {
      const rate = (1000 * (done - first)) / elapsed
      const shown = rate < 10 && unit !== "bytes" ? rate.toPrecision(2) : count(rate)
      parts.push(`${shown}/s`)
      if (share > 0 && share < 1) parts.push(`left ${shortDuration((total - done) / rate)}`)
    }
    return parts.join(" · ")
  }
}
