import { spawnSync } from "node:child_process"
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  utimesSync,
  writeFileSync,
} from "node:fs"
import { hostname, tmpdir } from "node:os"
import { join } from "node:path"
import { expect, test, vi } from "vitest"
import { InputError } from "../../src/errors.ts"
import type { RunEvent } from "../../src/run/events.ts"
import { isRunFolder, openRunFolder, parseEvents, readRun } from "../../src/run/run-folder.ts"
import { fc } from "../seeded-check.ts"

const links = vi.hoisted(() => ({ broken: false }))
vi.mock("node:fs", async (original) => {
  const fs = await original<typeof import("node:fs")>()
  const linkSync: typeof fs.linkSync = (from, to) => {
    if (!links.broken) return fs.linkSync(from, to)
    throw Object.assign(new Error("EPERM: operation not permitted, link"), { code: "EPERM" })
  }
  return { ...fs, linkSync }
})

const record = { config: { model: "m" }, versions: { code: "1" } }
const newFolder = () => join(mkdtempSync(join(tmpdir(), "dftune-run-")), "run")
const checkpoint = (step: number): RunEvent => ({
  type: "checkpoint",
  time: "2026-01-01T00:00:00.000Z",
  step,
  path: `checkpoints/step-${step}`,
})

test("what is appended is read back", () => {
  const path = newFolder()
  expect(isRunFolder(path)).toBe(false)
  const run = openRunFolder(path, { record })
  const events = [checkpoint(1), checkpoint(2)]
  for (const event of events) run.append(event)
  run.appendSample({ completion: "x" })
  run.close()
  expect(readRun(path)).toEqual({ path, record, events, badLines: [] })
  expect(readFileSync(join(path, "samples.jsonl"), "utf8")).toBe('{"completion":"x"}\n')
  expect(existsSync(join(path, "run.lock"))).toBe(false)
})

test("a torn last line is left out, and a resumed run does not glue to it", () => {
  const path = newFolder()
  const first = openRunFolder(path, { record })
  first.append(checkpoint(1))
  first.close()
  appendFileSync(join(path, "events.jsonl"), '{"type":"step","ti')
  expect(readRun(path)).toMatchObject({ events: [checkpoint(1)], badLines: [] })
  const second = openRunFolder(path, { record, step: 1 })
  second.append(checkpoint(2))
  second.close()
  expect(readRun(path)).toMatchObject({ events: [checkpoint(1), checkpoint(2)], badLines: [] })
})

test("whatever is cut off the end, whole lines are read", () => {
  const text = [1, 2, 3].map((step) => `${JSON.stringify(checkpoint(step))}\n`).join("")
  fc.assert(
    fc.property(fc.integer({ min: 0, max: text.length }), (length) => {
      const kept = text.slice(0, length)
      const whole = kept.split("\n").length - 1
      expect(parseEvents(kept)).toEqual({
        events: [1, 2, 3].slice(0, whole).map(checkpoint),
        badLines: [],
      })
    }),
  )
})

test("a damaged line is named, not passed over", () => {
  expect(parseEvents(`${JSON.stringify(checkpoint(1))}\nnot json\n[]\n`).badLines).toEqual([2, 3])
})

test("a folder that holds a run is not overwritten", () => {
  const path = newFolder()
  const run = openRunFolder(path, { record })
  run.append(checkpoint(1))
  run.close()
  mkdirSync(join(path, "model"))
  expect(() => openRunFolder(path, { record })).toThrow(
    /already holds a run; continue it with --resume/,
  )
  expect(existsSync(join(path, "run.lock"))).toBe(false)
})

test("two writers of one folder: the second is refused, in this process and from another", () => {
  const path = newFolder()
  const run = openRunFolder(path, { record })
  expect(() => openRunFolder(path, { record })).toThrow(InputError)
  run.close()
  openRunFolder(path, { record }).close()

  const parent = process.ppid
  writeFileSync(join(path, "run.lock"), JSON.stringify({ pid: parent, host: hostname() }))
  expect(() => openRunFolder(path, { record })).toThrow(
    `process ${parent} on ${hostname()} is writing this run`,
  )
})

test("the lock of a process that died is taken over", () => {
  const path = newFolder()
  openRunFolder(path, { record }).close()
  const { pid } = spawnSync(process.execPath, ["-e", ""])
  writeFileSync(join(path, "run.lock"), JSON.stringify({ pid, host: hostname() }))
  openRunFolder(path, { record }).close()
  writeFileSync(join(path, "run.lock"), "damaged")
  openRunFolder(path, { record }).close()
})

test("what killed processes left half written is removed by the next start", () => {
  const path = newFolder()
  openRunFolder(path, { record }).close()
  const id = "0123abcd-0000-4000-8000-0123456789ab"
  const left = [`model.${id}.tmp`, `config.json.${id}.tmp`, ".report.html.123.0a1b2c3d.tmp"]
  for (const name of left) writeFileSync(join(path, name), "")
  mkdirSync(join(path, "checkpoints", `.step-000003-${id}`), { recursive: true })
  for (const name of ["notes.tmp", "model.tmp"]) writeFileSync(join(path, name), "mine")
  openRunFolder(path, { record }).close()
  expect(readdirSync(path).sort()).toEqual(
    [
      "checkpoints",
      "config.json",
      "events.jsonl",
      "model.tmp",
      "notes.tmp",
      "samples.jsonl",
    ].sort(),
  )
  expect(readdirSync(join(path, "checkpoints"))).toEqual([])
})

test("a file system without hard links: the lock is as good", () => {
  links.broken = true
  try {
    const path = newFolder()
    const run = openRunFolder(path, { record })
    expect(() => openRunFolder(path, { record })).toThrow(/is writing this run/)
    run.close()
    writeFileSync(join(path, "run.lock"), "")
    expect(() => openRunFolder(path, { record })).toThrow(/has just started writing/)
    const minuteAgo = new Date(Date.now() - 60_000)
    utimesSync(join(path, "run.lock"), minuteAgo, minuteAgo)
    openRunFolder(path, { record }).close()
  } finally {
    links.broken = false
  }
})

test("a folder without a run says so", () => {
  expect(() => readRun(tmpdir())).toThrow(/expected a run folder/)
})
