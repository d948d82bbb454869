/** The text of a completion as it grows, up to the first stop string in it. */
export interface StopText {
  /** Adds text; returns what can be shown: what may yet turn out to be a stop is held back. */
  push(text: string): string
  /** Nothing more comes: what was held back. */
  end(): string
  /** All text before the stop. */
  readonly text: string
  readonly stopped: boolean
}

/** How much of the end of `text` is the beginning of a stop string. */
function heldBack(text: string, stops: readonly string[]): number {
  let most = 0
  for (const stop of stops) {
    for (let size = Math.min(stop.length - 1, text.length); size > most; size--) {
      if (text.endsWith(stop.slice(0, size))) most = size
    }
  }
  return most
}

export function stopText(stops: readonly string[] = []): StopText {
  const wanted = stops.filter((stop) => stop !== "")
  const longest = Math.max(0, ...wanted.map((stop) => stop.length))
  let text = ""
  let shown = 0
  let stopped = false
  const show = (to: number): string => {
    const part = text.slice(shown, to)
    shown = Math.max(shown, to)
    return part
  }
  return {
    push(more) {
      if (stopped || more === "") return ""
      const from = Math.max(0, text.length - longest + 1)
      text += more
      const found = wanted.map((stop) => text.indexOf(stop, from)).filter((at) => at >= 0)
      if (found.length > 0) {
        text = text.slice(0, Math.min(...found))
        stopped = true
        return show(text.length)
      }
      return show(text.length - heldBack(text, wanted))
    },
    end: () => show(text.length),
    get text() {
      return text
    },
    get stopped() {
      return stopped
    },
  }
}
