import { randomBytes } from "node:crypto"
import picocolors from "picocolors"
import { printable, printableJson } from "../../host/printable.ts"
import type { Warning } from "../../host/told.ts"
import { write } from "./output.ts"

/**
 * Stands for the escape that begins a colour, until the text is written: what comes from files has
 * no escapes, and cannot know this.
 */
const ESCAPE = `\u{fdd0}${randomBytes(8).toString("hex")}`

type Colors = ReturnType<typeof picocolors.createColors>

/** Colour for a stream: only on a terminal, and never under NO_COLOR. For `say` and `print`. */
export function colorsFor(stream: NodeJS.WriteStream): Colors {
  const forced = Boolean(process.env.FORCE_COLOR) && process.env.FORCE_COLOR !== "0"
  const refused = Boolean(process.env.NO_COLOR) || process.env.TERM === "dumb"
  const colors = picocolors.createColors(!refused && (forced || stream.isTTY === true))
  const marked = Object.entries(colors).map(([name, paint]) => [
    name,
    typeof paint === "function" ? (text: string) => paint(text).replaceAll("\x1b", ESCAPE) : paint,
  ])
  return Object.fromEntries(marked) as Colors
}

/** Text as a terminal gets it: our own colours, and nothing else that it would obey. */
export function terminalText(text: string): string {
  return printable(text).replaceAll(ESCAPE, "\x1b")
}

/** Lines at the bottom of a terminal that are drawn over and over; what is said goes above them. */
export interface LiveLines {
  readonly clear: () => void
  readonly draw: () => void
}

let live: LiveLines | undefined

/** Takes these lines away, if it is they that stand there. */
export function dropBelow(lines: LiveLines): void {
  if (live === lines) keepBelow(undefined)
}

/**
 * From now on these are the terminal's live lines, or there are none; others that stood there go.
 */
export function keepBelow(lines: LiveLines | undefined): void {
  if (live !== lines) live?.clear()
  live = lines
}

function writeAbove(stream: typeof process.stdout | typeof process.stderr, text: string): void {
  const below = stream.isTTY ? live : undefined
  below?.clear()
  write(stream, text)
  below?.draw()
}

/** Words for people, on stderr. */
export function say(text: string): void {
  writeAbove(process.stderr, `${terminalText(text)}\n`)
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

/** A warning of the library. */
export const sayWarned = ({ code, message, hint }: Warning) => sayWarning(code, message, hint)

/** A result, on stdout. */
export function print(text: string): void {
  writeAbove(process.stdout, `${terminalText(text)}\n`)
}

/** A result as one line of JSON, on stdout. */
export function printJson(value: unknown): void {
  writeAbove(process.stdout, `${printableJson(value)}\n`)
}
