import { existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, test } from "vitest"
import { followEvents } from "../../src/engines/torch/follow.ts"
import { supersede } from "../../src/run/history.ts"
import { openRunFolder, readRun } from "../../src/run/run-folder.ts"
import { wholeEvent } from "./whole-events.ts"

const newFolder = () => mkdtempSync(join(tmpdir(), "dftune-history-"))
const record = { config: {}, versions: {} }

/** `start 0`, `step 3`: an event a word. */
function write(folder: string, told: string, samples = ""): void {
  const lines = (text: string) =>
    text
      .split(", ")
      .filter((word) => word !== "")
      .map((word) => {
        const [type, step, more] = word.split(" ")
        if (type === "bad") return "{not json"
        const full = type === "start" ? "run.start" : type
        const event = { type: full!, step: Number(step), ...(more ? { more } : {}) }
        return JSON.stringify(wholeEvent(event))
      })
      .map((line) => `${line}\n`)
      .join("")
  writeFileSync(join(folder, "events.jsonl"), lines(told))
  writeFileSync(join(folder, "samples.jsonl"), lines(samples))
}

function told(folder: string, name: string): string {
  const path = join(folder, name)
  if (!existsSync(path)) return ""
  const words = readFileSync(path, "utf8").trim().split("\n").filter(Boolean)
  return words
    .map((line) => {
      if (line === "{not json") return "bad"
      const { type, step, more } = JSON.parse(line) as { type: string; step: number; more?: string }
      return [type === "run.start" ? "start" : type, step, ...(more ? [more] : [])].join(" ")
    })
    .join(", ")
}

test.each([
  [
    "a killed run goes on from its checkpoint",
    3,
    "start 0, step 1, step 2, step 3, checkpoint 3, step 4, step 5",
    "start 0, step 1, step 2, step 3, checkpoint 3",
    "step 4, step 5",
  ],
  [
    "what was told at the checkpoint's step stays, and lines that are no event",
    3,
    "start 0, warning 0, bad, step 3, eval 3, checkpoint 3, end 3",
    "start 0, warning 0, bad, step 3, eval 3, checkpoint 3, end 3",
    "",
  ],
  [
    "from the beginning all happens again",
    0,
    "start 0, eval 0, step 1, bad",
    "bad",
    "start 0, eval 0, step 1",
  ],
  [
    "what 0.1.0 told twice is told once",
    6,
    "start 0, step 3, step 4 old, step 5 old, start 3, step 4, step 5, step 6, step 7",
    "start 0, step 3, start 3, step 4, step 5, step 6",
    "step 4 old, step 5 old, step 7",
  ],
  [
    "an older checkpoint than the newest",
    2,
    "start 0, step 2, checkpoint 2, step 4, checkpoint 4, start 4, step 5",
    "start 0, step 2, checkpoint 2",
    "step 4, checkpoint 4, start 4, step 5",
  ],
])("%s", (_, step, before, kept, moved) => {
  const folder = newFolder()
  write(folder, before)
  supersede(folder, step)
  expect(told(folder, "events.jsonl")).toBe(kept)
  expect(told(folder, "events.superseded.jsonl")).toBe(moved)
  supersede(folder, step)
  expect(told(folder, "events.jsonl")).toBe(kept)
  expect(told(folder, "events.superseded.jsonl")).toBe(moved)
})

test("samples follow the events that tell of them, the last of each step", () => {
  const folder = newFolder()
  const events = "start 0, sample 2, sample 2, sample 4 old, start 3, sample 4, sample 6"
  write(folder, events, "sample 2 a, sample 2 b, sample 4 old, sample 4 new, sample 6")
  supersede(folder, 4)
  expect(told(folder, "samples.jsonl")).toBe("sample 2 a, sample 2 b, sample 4 new")
  expect(told(folder, "samples.superseded.jsonl")).toBe("sample 6, sample 4 old")
})

test("an empty folder, and one without samples, have nothing to move", () => {
  const folder = newFolder()
  supersede(folder, 3)
  expect(readdirSync(folder)).toEqual([])
})

test("whoever follows a run is told by a reset that it is told anew", async () => {
  const folder = newFolder()
  const path = join(folder, "events.jsonl")
  write(folder, "start 0, step 1, step 2, step 3")
  const seen: string[] = []
  let done = false
  const following = (async () => {
    for await (const { type, step } of followEvents(path, { ended: () => done })) {
      seen.push(`${type} ${step}`)
    }
  })()
  while (!seen.includes("step 3")) await new Promise((next) => setTimeout(next, 5))
  const run = openRunFolder(folder, { record, step: 2 })
  run.append({ type: "checkpoint", step: 9, time: "", path: "" })
  run.close()
  while (!seen.includes("checkpoint 9")) await new Promise((next) => setTimeout(next, 5))
  done = true
  await following
  expect(seen.slice(4)).toEqual(["reset 0", "run.start 0", "step 1", "step 2", "checkpoint 9"])
  expect(readRun(folder).events).toHaveLength(4)
})
