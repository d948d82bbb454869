/** What a target is, and what several of them do. */
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { jsonOf, mutatedBytes, mutatedJson, mutatedJsonFile } from "../mutate.ts"
import type { Draw } from "../random.ts"

/** Writes a mutant and reads it as a user's command would. */
export type Target = (draw: Draw) => Promise<void> | void
/** Made once a process, with a folder of its own. */
export type Targets = Readonly<Record<string, (work: string) => Target>>

const REPO = fileURLToPath(new URL("../..", import.meta.url))
export const inRepo = (name: string) => join(REPO, name)
export const golden = (name: string) => join(REPO, "golden", name)

/** A file of a folder, mutated, with the others as they are. */
export function fileOf(folder: string, name: string, read: () => Promise<void> | void): Target {
  const path = join(folder, name)
  const base = readFileSync(path)
  const value: unknown = name.endsWith(".json") ? JSON.parse(base.toString("utf8")) : undefined
  return (draw) => {
    writeFileSync(
      path,
      value === undefined ? mutatedBytes(base, draw) : mutatedJsonFile(base, value, draw),
    )
    return read()
  }
}

/** A file that is drawn from several and read under its own name. */
export function oneOf(
  bases: Readonly<Record<string, Uint8Array>>,
  work: string,
  read: (path: string) => Promise<void> | void,
): Target {
  return (draw) => {
    const name = draw.of(Object.keys(bases))
    const path = join(work, name)
    writeFileSync(path, mutatedBytes(bases[name]!, draw))
    return read(path)
  }
}

/** Lines of JSON: the structure of one of them is another, or the bytes of the file. */
export function mutatedLines(lines: readonly unknown[], draw: Draw): Buffer {
  const texts = lines.map((line) => JSON.stringify(line))
  const at = draw.whole(lines.length)
  texts[at] = jsonOf(mutatedJson(lines[at], draw))
  const text = Buffer.from(`${texts.join("\n")}\n`)
  return draw() < 0.7 ? text : mutatedBytes(text, draw)
}

export function copied(from: string, work: string, name: string): string {
  const to = join(work, name)
  mkdirSync(to, { recursive: true })
  cpSync(from, to, { recursive: true })
  return to
}

export async function all(rows: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of rows) {
    // read to the end
  }
}

export const CONVERSATION = [
  { role: "system", content: "s" },
  { role: "user", content: "hi" },
  { role: "assistant", content: "yes" },
]
