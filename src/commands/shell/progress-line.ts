import { printableLine } from "../../host/printable.ts"
import { shortDuration } from "../../report/units.ts"
import { write } from "./output.ts"
import { dropBelow, keepBelow, type LiveLines, say } from "./terminal.ts"

/** Without a terminal nothing that takes long is silent for longer than this. */
const QUIET_MS = 10_000
/** On a terminal a text that stands still for so long is shown with the time it has stood. */
const STILL_MS = 3000
const DRAW_MS = 100
const BEAT_MS = 1000

/** What is being done now. A process that has nothing else to do is not kept alive by it. */
export interface ProgressLine {
  readonly show: (text: string) => void
  /** Something else was said: the next line may wait. */
  readonly told: () => void
  /** It is done; the next text begins anew. */
  readonly clear: () => void
}

/**
 * One line that is written over while work goes on. Without a terminal a line every ten seconds,
 * also while one text stands for work that takes long: then with how long it has.
 */
export function progressLine(): ProgressLine {
  return process.stderr.isTTY ? drawnLine() : quietLine(say)
}

/** The newest text, since when it stands, and a beat for as long as there is one. */
function standing(onBeat: () => void) {
  let beat: NodeJS.Timeout | undefined
  let since = 0
  const now = {
    text: undefined as string | undefined,
    set(text: string | undefined) {
      if (text !== now.text) since = Date.now()
      now.text = text
      if (text === undefined) {
        clearInterval(beat)
        beat = undefined
      } else beat ??= setInterval(onBeat, BEAT_MS).unref()
    },
    /** The text, and from `after` milliseconds on how long it has stood. */
    shown(after: number): string {
      const stood = Date.now() - since
      const more = stood >= after ? ` · for ${shortDuration(stood / 1000)}` : ""
      return printableLine(`${now.text}${more}`)
    },
  }
  return now
}

export function quietLine(tell: (line: string) => void): ProgressLine {
  let toldAt = Date.now()
  const told = () => {
    toldAt = Date.now()
  }
  const beat = () => {
    if (now.text === undefined || Date.now() - toldAt < QUIET_MS) return
    told()
    tell(now.shown(BEAT_MS))
  }
  const now = standing(beat)
  const show = (text: string) => {
    now.set(text)
    beat()
  }
  return { show, told, clear: () => now.set(undefined) }
}

function drawnLine(): ProgressLine {
  let drawnAt = 0
  const own: LiveLines = {
    clear: () => write(process.stderr, "\r\x1b[2K"),
    draw: () => {
      if (now.text === undefined) return
      drawnAt = Date.now()
      const width = (process.stderr.columns ?? 80) - 1
      write(process.stderr, `\r\x1b[2K${now.shown(STILL_MS).slice(0, width)}`)
    },
  }
  const now = standing(() => {
    if (Date.now() - drawnAt >= STILL_MS) shown()
  })
  const shown = () => {
    keepBelow(own)
    own.draw()
  }
  return {
    show(text) {
      now.set(text)
      if (Date.now() - drawnAt >= DRAW_MS) shown()
    },
    told: () => {},
    clear() {
      now.set(undefined)
      dropBelow(own)
    },
  }
}
