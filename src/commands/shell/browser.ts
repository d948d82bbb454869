import { spawn } from "node:child_process"
import { mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const OPENERS: Readonly<Partial<Record<NodeJS.Platform, readonly string[]>>> = {
  darwin: ["open"],
  win32: ["explorer.exe"],
}

/**
 * Opens the user's browser. The address holds a secret, and other users of a machine see the
 * arguments of programs: a file that only this user can read leads there. No browser: the address
 * has been printed.
 */
export function openBrowser(url: string): void {
  const file = join(mkdtempSync(join(tmpdir(), "dftune-open-")), "open.html")
  const page = `<!doctype html><meta http-equiv="refresh" content="0;url=${url}">`
  writeFileSync(file, page, { mode: 0o600 })
  const [program, ...rest] = OPENERS[process.platform] ?? ["xdg-open"]
  const child = spawn(program!, [...rest, file], { stdio: "ignore", detached: true })
  child.on("error", () => {}) // not there
  child.unref()
}
