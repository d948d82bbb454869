/** A `dftune` on the PATH that runs this clone, as after `npm install -g`. */
import { mkdirSync, writeFileSync } from "node:fs"
import { delimiter, join } from "node:path"
import { fileURLToPath } from "node:url"

const TSX = fileURLToPath(new URL("../node_modules/tsx/dist/loader.mjs", import.meta.url))
const MAIN = fileURLToPath(new URL("../src/commands/main.ts", import.meta.url))

/** Writes the command into `folder`; the PATH on which it is found first. */
export function commandOnPath(folder: string): string {
  mkdirSync(folder, { recursive: true })
  const quoted = [process.execPath, "--import", TSX, MAIN].map((word) => `'${word}'`).join(" ")
  writeFileSync(join(folder, "dftune"), `#!/bin/sh\nexec ${quoted} "$@"\n`, { mode: 0o755 })
  return `${folder}${delimiter}${process.env.PATH ?? ""}`
}
