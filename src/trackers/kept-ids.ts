/** By what id each service knows a run, beside it: a resumed run goes on there. */
import { mkdirSync, rmSync } from "node:fs"
import { join } from "node:path"
import { writeFileAtomic } from "../formats/atomic.ts"
import { isObject } from "../formats/json.ts"
import { jsonOfFile } from "../formats/plain-file.ts"

const FILE = "trackers.json"

function all(outputDir: string): Record<string, unknown> {
  const kept = jsonOfFile(join(outputDir, FILE)) // damaged: the run is told as a new one
  return isObject(kept) ? { ...kept } : {}
}

export function keptId(outputDir: string, tracker: string): string | undefined {
  const id = all(outputDir)[tracker]
  return typeof id === "string" ? id : undefined
}

export async function keepId(outputDir: string, tracker: string, id: string): Promise<void> {
  mkdirSync(outputDir, { recursive: true })
  const text = JSON.stringify({ ...all(outputDir), [tracker]: id }, null, 2)
  await writeFileAtomic(join(outputDir, FILE), `${text}\n`)
}

export const clearKeptIds = (outputDir: string): void =>
  rmSync(join(outputDir, FILE), { force: true })
