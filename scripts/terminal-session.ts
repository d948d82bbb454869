/**
 * A program in a pseudo-terminal, driven as a person would: lines typed, Ctrl-C, and the screen
 * that the terminal shows (what is written over is gone, as on a real one).
 */
import { createRequire } from "node:module"
import type { Terminal } from "@xterm/headless"

// Its ES module stands under no `exports`: each loader finds other names by `import`.
const xterm = createRequire(import.meta.url)("@xterm/headless") as typeof import("@xterm/headless")

export interface Session {
  /** Waits until the screen below what an earlier call found shows `pattern`. */
  readonly until: (pattern: RegExp, seconds?: number) => Promise<RegExpMatchArray>
  readonly type: (text: string) => void
  /** Everything that was not written over, scrolled lines included, as text. */
  readonly screen: () => string
  readonly ended: Promise<{ readonly code: number }>
}

interface SessionOptions {
  readonly cwd: string
  readonly env: Record<string, string>
  readonly columns?: number
  readonly rows?: number
}

/** Why no pseudo-terminal can be opened on this machine; undefined where one can. */
export async function noTerminal(): Promise<string | undefined> {
  try {
    await import("@lydell/node-pty")
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message.split("\n")[0]! : String(error)
  }
}

/** Runs `line` in the shell of a new pseudo-terminal. */
export async function openSession(
  line: string,
  { cwd, env, columns = 100, rows = 30 }: SessionOptions,
): Promise<Session> {
  const pty = await import("@lydell/node-pty")
  const terminal = new xterm.Terminal({
    cols: columns,
    rows,
    scrollback: 10_000,
    allowProposedApi: true,
  })
  const shell =
    process.platform === "win32" ? ["cmd.exe", "/c", line] : ["/bin/sh", "-c", `exec ${line}`]
  const child = pty.spawn(shell[0]!, shell.slice(1), {
    name: "xterm-256color",
    cols: columns,
    rows,
    cwd,
    env,
  })
  let look = () => {}
  child.onData((data) => terminal.write(data, () => look()))
  let over = false
  const ended = new Promise<{ code: number }>((resolve) => {
    child.onExit(({ exitCode }) => {
      // the last writes are parsed first
      terminal.write("", () => {
        over = true
        look()
        resolve({ code: exitCode })
      })
    })
  })
  let seen = 0
  const until = (pattern: RegExp, seconds = 60) =>
    new Promise<RegExpMatchArray>((resolve, reject) => {
      const fail = (why: string) => {
        look = () => {}
        if (!over) child.kill()
        reject(new Error(`\`${line}\`: ${pattern} ${why}; the screen:\n${screenText(terminal)}`))
      }
      const timer = setTimeout(() => fail(`did not come in ${seconds} s`), 1000 * seconds)
      look = () => {
        const text = screenText(terminal)
        const found = pattern.exec(text.slice(seen))
        if (found) {
          seen += found.index + found[0].length
          look = () => {}
          clearTimeout(timer)
          resolve(found)
        } else if (over) {
          clearTimeout(timer)
          fail("never came: the program has ended")
        }
      }
      look()
    })
  return {
    until,
    type: (text) => child.write(text),
    screen: () => screenText(terminal),
    ended,
  }
}

/** The lines of a terminal as text; a line that was wrapped is one again. */
function screenText(terminal: Terminal): string {
  const { active } = terminal.buffer
  const lines: string[] = []
  for (let y = 0; y < active.length; y++) {
    const line = active.getLine(y)!
    const text = line.translateToString(true)
    if (line.isWrapped) lines.push(`${lines.pop()}${text}`)
    else lines.push(text)
  }
  return lines.join("\n").trimEnd()
}
