import picocolors from "picocolors"
import { write } from "./output.ts"

/** Colour for a stream: only on a terminal, and never under NO_COLOR. */
export function colorsFor(stream: NodeJS.WriteStream): ReturnType<typeof picocolors.createColors> {
  const forced = Boolean(process.env.FORCE_COLOR) && process.env.FORCE_COLOR !== "0"
  const refused = Boolean(process.env.NO_COLOR) || process.env.TERM === "dumb"
  return picocolors.createColors(!refused && (forced || stream.isTTY === true))
}

/** Words for people, on stderr. */
export function say(text: string): void {
  write(process.stderr, `${text}\n`)
}

export function sayError(message: string): void {
  const { bold, red } = colorsFor(process.stderr)
  say(`${bold(red("error:"))} ${message}`)
}

export function sayWarning(
  code: string,
  message: string,
  hint: string,
  severity: "warning" | "error" = "warning",
): void {
  const { bold, dim, red, yellow } = colorsFor(process.stderr)
  const colour = severity === "error" ? red : yellow
  say(
    `${bold(colour(`${severity}:`))} ${message} ${dim(`[${code}]`)}${hint === "" ? "" : `\n  ${hint}`}`,
  )
}

/** A result, on stdout. */
export function print(text: string): void {
  write(process.stdout, `${text}\n`)
}

/** A result as one line of JSON, on stdout. */
export function printJson(value: unknown): void {
  write(process.stdout, `${JSON.stringify(value)}\n`)
}

/** One line that is written over while work goes on; silent when stderr is no terminal. */
export function progressLine(): {
  readonly show: (text: string) => void
  readonly clear: () => void
} {
  if (!process.stderr.isTTY) return { show: () => {}, clear: () => {} }
  let shownAt = 0
  return {
    show: (text) => {
      if (Date.now() - shownAt < 100) return
      shownAt = Date.now()
      write(process.stderr, `\r\x1b[2K${text.slice(0, (process.stderr.columns ?? 80) - 1)}`)
    },
    clear: () => write(process.stderr, "\r\x1b[2K"),
  }
}
