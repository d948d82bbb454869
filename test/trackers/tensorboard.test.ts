import { execFileSync } from "node:child_process"
import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, expect, test } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import { train } from "../../src/engines/index.ts"
import type { RunEvent } from "../../src/run/events.ts"
import { readRun } from "../../src/run/run-folder.ts"
import { crc32c } from "../../src/trackers/crc32c.ts"
import { record, records, stepOf } from "../../src/trackers/event-file.ts"
import { clearTensorboard, openTrackers } from "../../src/trackers/index.ts"
import { pythonWith } from "../python-with.ts"
import { sumRows, tinyModel } from "../train/tiny-model.ts"

const root = mkdtempSync(join(tmpdir(), "dftune-trackers-"))
afterAll(() => rmSync(root, { recursive: true, force: true }))
const python = pythonWith("tensorboard")

beforeAll(() => {
  process.env.DFTUNE_CACHE = join(root, "cache")
  tinyModel(root)
  sumRows(root, 40)
})

const config = (name: string, more: object = {}) =>
  parseConfig({
    model: join(root, "model-start"),
    data: { train: [{ path: join(root, "sums.jsonl") }], max_length: 64 },
    objective: "dft",
    batch_size: 4,
    micro_batch_tokens: 128,
    save_steps: 2,
    eval_steps: 0,
    max_steps: 5,
    engine: { name: "onnx", device: "cpu", threads: 1 },
    report_to: ["tensorboard"],
    output_dir: join(root, name),
    ...more,
  })

async function eventsOf(...run: Parameters<typeof config>): Promise<RunEvent[]> {
  const events: RunEvent[] = []
  for await (const event of train(config(...run))) events.push(event)
  return events
}

const folderOf = (name: string) => join(root, name, "tensorboard")
const ownRecords = (name: string) =>
  readdirSync(folderOf(name))
    .sort()
    .flatMap((file) => records(readFileSync(join(folderOf(name), file))))

const VALUE_KEY = 0x15
/** The scalar of `tag` in every record that has it, by step. */
function scalars(name: string, tag: string): [number, number][] {
  const label = Buffer.concat([Buffer.from([0x0a, tag.length]), Buffer.from(tag)])
  return ownRecords(name).flatMap((event): [number, number][] => {
    const at = event.indexOf(label)
    if (at < 0) return []
    expect(event[at + label.length]).toBe(VALUE_KEY)
    return [[stepOf(event), event.readFloatLE(at + label.length + 1)]]
  })
}

const losses = (name: string) =>
  readRun(join(root, name)).events.flatMap((event): [number, number][] =>
    event.type === "step" ? [[event.step, Math.fround(event.loss)]] : [],
  )

test("the checksum is CRC-32C, by the vectors of RFC 3720", () => {
  expect(crc32c(Buffer.alloc(32))).toBe(0x8a9136aa)
  expect(crc32c(Buffer.alloc(32, 0xff))).toBe(0x62a8ab43)
  expect(crc32c(Buffer.from("123456789"))).toBe(0xe3069283)
})

test("a torn or damaged record ends the reading", () => {
  const two = Buffer.concat([record(Buffer.from("one")), record(Buffer.from("two"))])
  expect(records(two).map(String)).toEqual(["one", "two"])
  expect(records(two.subarray(0, -1)).map(String)).toEqual(["one"])
  two[12]! ^= 1
  expect(records(two)).toEqual([])
})

test("a run's steps are told once, also when it is resumed from an earlier one", async () => {
  await eventsOf("resumed")
  expect(scalars("resumed", "train/loss")).toEqual(losses("resumed"))
  const [first] = readdirSync(folderOf("resumed"))
  appendFileSync(join(folderOf("resumed"), first!), "torn")
  const resume = join(root, "resumed", "checkpoints", "step-000002")
  await eventsOf("resumed", { resume })
  expect(readdirSync(folderOf("resumed"))).toHaveLength(2)
  const told = scalars("resumed", "train/loss")
  expect(told.map(([step]) => step)).toEqual([1, 2, 3, 4, 5])
  expect(told).toEqual(losses("resumed"))
})

test.skipIf(!python)(
  "TensorBoard reads the same (Python with tensorboard)",
  async () => {
    const script = fileURLToPath(new URL("read-scalars.py", import.meta.url))
    await eventsOf("read", { max_steps: 3 })
    await eventsOf("read", {
      max_steps: 3,
      resume: join(root, "read", "checkpoints", "step-000002"),
    })
    const out = execFileSync(python!, [script, folderOf("read")], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    })
    expect(JSON.parse(out)["train/loss"]).toEqual(losses("read"))
  },
  60_000,
)

test("a tracker that cannot write is one warning, and the run is done", async () => {
  const events = await eventsOf("plain", { max_steps: 2, report_to: [] })
  expect(existsSync(folderOf("plain"))).toBe(false)
  expect(events.at(-1)).toMatchObject({ type: "run.end", reason: "done" })
  writeFileSync(folderOf("plain"), "somebody's own")
  const again = await eventsOf("plain", { max_steps: 2, overwrite_output_dir: true })
  const said = again.filter((event) => event.type === "warning" && event.code === "tracker")
  expect(said).toMatchObject([{ message: expect.stringContaining("tensorboard: "), step: 0 }])
  expect(again.at(-1)).toMatchObject({ type: "run.end", reason: "done" })
  expect(readFileSync(folderOf("plain"), "utf8")).toBe("somebody's own")
})

test("every number of step, eval and rollout events is told; a reset begins anew", async () => {
  const out = join(root, "made")
  const { see, close } = await openTrackers(["tensorboard", "tensorboard"], {
    outputDir: out,
    settings: {},
  })
  const time = "2026-01-01T00:00:00.000Z"
  see({ type: "run.start", time, step: 0 })
  const before = { type: "step", time, step: 300, ratio: { max: 2 }, eos_p: null }
  see(before)
  expect(scalars("made", "train/ratio/max")).toEqual([[300, 2]])
  see({ type: "reset", time, step: 0 })
  const evaluation = { type: "eval", time, step: 7, name: "dev", nll: 0.5, loss: Number.NaN }
  see(evaluation)
  await close()
  expect(scalars("made", "train/ratio/max")).toEqual([])
  expect(scalars("made", "eval/dev/nll")).toEqual([[7, 0.5]])
  expect(scalars("made", "eval/dev/loss")).toEqual([])
  writeFileSync(join(folderOf("made"), "events.out.tfevents.1.host"), "another's")
  clearTensorboard(out)
  expect(readdirSync(folderOf("made"))).toEqual(["events.out.tfevents.1.host"])
})
