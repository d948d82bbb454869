import { createHash } from "node:crypto"
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import type { EvalEvent, RunEvent, StepEvent } from "../../src/run/events.ts"
import { readRun } from "../../src/run/run-folder.ts"
import { readReference, writeReference } from "../../src/train/reference-file.ts"
import { runHere } from "../../src/train/run.ts"
import { preferenceRows } from "./preference-rows.ts"
import { tinyModel } from "./tiny-model.ts"

const root = mkdtempSync(join(tmpdir(), "dftune-preference-"))
afterAll(() => rmSync(root, { recursive: true, force: true }))

beforeAll(() => {
  process.env.DFTUNE_CACHE = join(root, "cache")
  tinyModel(root)
  preferenceRows(root)
})

const settings = (name: string, file: string, more: object = {}) => ({
  model: join(root, "model-start"),
  data: { train: [join(root, file)], eval: [join(root, file)], max_length: 64 },
  objective: "dpo",
  batch_size: 4,
  micro_batch_tokens: 128,
  learning_rate: 1e-3,
  max_steps: 6,
  save_steps: 3,
  eval_steps: 0,
  engine: { name: "onnx", device: "cpu", threads: 1 },
  output_dir: join(root, name),
  ...more,
})

/** In this thread: the loop's own thread is tried by resume.test.ts. */
async function run(name: string, file: string, more: object = {}, signal?: AbortSignal) {
  for await (const _ of runHere(parseConfig(settings(name, file, more)), signal ? { signal } : {}));
  return readRun(join(root, name)).events
}

const stepsOf = (events: readonly RunEvent[]) =>
  events.filter((event): event is StepEvent => event.type === "step")
const evalsOf = (events: readonly RunEvent[]) =>
  events.filter((event): event is EvalEvent => event.type === "eval")

test.each([
  ["dpo", Math.LN2],
  [{ name: "dpo", loss: "ipo" }, 25],
  [{ name: "dpo", loss: "hinge", sft: 0.5, sft_weight: "dft" }, undefined],
  ["simpo", undefined],
  ["orpo", undefined],
] as const)("%j trains on pairs and tells how both sides fare", async (objective, known) => {
  const name = `pairs-${JSON.stringify(objective).replace(/\W+/g, "-")}`
  const events = await run(name, "pairs.jsonl", { objective })
  const [first, ...others] = stepsOf(events)
  if (known !== undefined) {
    expect(first!.loss).toBeCloseTo(known, 5)
    expect(first!.reward_margin).toBeCloseTo(0, 5)
  }
  const last = others.at(-1)!
  expect(last.reward_margin!).toBeGreaterThan(first!.reward_margin!)
  expect(last.logp_chosen).toBeLessThan(0)
  expect(last.reward_margin!).toBeCloseTo(last.reward_chosen! - last.reward_rejected!, 9)
  const [before, after] = [evalsOf(events)[0]!, evalsOf(events).at(-1)!]
  expect(after.loss!).toBeLessThan(before.loss!)
  expect(after.reward_accuracy!).toBeGreaterThan(before.reward_accuracy! - 1e-9)
  expect(after.reward_accuracy!).toBeGreaterThan(0.5)
})

test("kto trains on labelled answers", async () => {
  const events = await run("kto", "labels.jsonl", { objective: "kto" })
  const steps = stepsOf(events)
  expect(steps[0]!.loss).toBeCloseTo(0.5, 4)
  expect(steps[0]!.kl_step).toBeCloseTo(0, 4)
  expect(steps.at(-1)!.kl_step).toBeGreaterThanOrEqual(0)
  expect(steps.at(-1)!.reward_margin!).toBeGreaterThan(0)
  expect(evalsOf(events).at(-1)!.loss!).toBeLessThan(0.5)
})

test.each(["rwr", "offline-pg"])("%s trains on answers with rewards", async (objective) => {
  const events = await run(objective, "rewards.jsonl", { objective })
  expect(stepsOf(events)).toHaveLength(6)
  expect(stepsOf(events).every(({ loss }) => Number.isFinite(loss))).toBe(true)
})

test("an adapter is compared with the model under it, whatever the base is kept in", async () => {
  for (const quantization of ["none", "int8"]) {
    const name = `adapter-${quantization}`
    const steps = stepsOf(
      await run(name, "pairs.jsonl", { adapter: { type: "lora", r: 4 }, quantization }),
    )
    expect(steps[0]!.loss).toBeCloseTo(Math.LN2, 5)
    expect(steps.at(-1)!.reward_margin!).toBeGreaterThan(0)
  }
})

test("another model as reference: compared with it, and with the model itself as with its start", async () => {
  const start = join(root, "model-start")
  await run("taught", "pairs.jsonl", { objective: "sft", data: settings("", "sft.jsonl").data })
  const taught = join(root, "taught", "model")
  const before = async (name: string, more: object) =>
    evalsOf(await run(name, "pairs.jsonl", { max_steps: 1, ...more }))[0]!
  const plain = await before("with-start", {})
  const itself = await before("with-itself", { reference: start })
  expect(itself.loss).toBeCloseTo(plain.loss!, 7)
  expect(itself.reward_margin).toBeCloseTo(0, 7)
  const one = await before("start-to-taught", { reference: taught })
  const other = await before("taught-to-start", { model: taught, reference: start })
  expect(Math.abs(one.reward_margin!)).toBeGreaterThan(1e-3)
  expect(one.reward_margin).toBeCloseTo(-other.reward_margin!, 4)
  expect(stepsOf(readRun(join(root, "start-to-taught")).events)[0]!.reward_margin).not.toBe(0)
})

test.each([
  ["sft", "sft as it is set compares with no reference"],
  ["asft", "asft needs the reference's whole distribution"],
  [{ name: "dpo", reference: "none" }, "dpo as it is set compares with no reference"],
])("a reference that nothing would ask is refused: %j", async (objective, message) => {
  const more = { objective, reference: join(root, "model-start") }
  await expect(run("refused", "pairs.jsonl", more)).rejects.toThrow(message)
})

test("a resumed run gives the same bits, its reference measured again or not", async () => {
  const whole = await run("whole", "pairs.jsonl")
  const model = (name: string) => readFileSync(join(root, name, "model", "model.safetensors"))
  const references = storedReferences()
  expect(references.length).toBeGreaterThan(0)
  for (const kept of [true, false]) {
    const name = `resumed-${kept}`
    const stopped = new AbortController()
    const config = parseConfig(settings(name, "pairs.jsonl"))
    for await (const event of runHere(config, { signal: stopped.signal })) {
      if (event.type === "step" && event.step === 4) stopped.abort()
    }
    if (!kept) for (const path of references) rmSync(path, { force: true })
    await run(name, "pairs.jsonl", { resume: true })
    expect(model(name).equals(model("whole"))).toBe(true)
    const told = stepsOf(readRun(join(root, name)).events).map(({ loss }) => loss)
    expect(told).toEqual(stepsOf(whole).map(({ loss }) => loss))
  }
})

test("a run that began before pairs were computed together goes on as it began", async () => {
  const states = (name: string) =>
    readdirSync(join(root, name, "checkpoints")).map((step) =>
      join(root, name, "checkpoints", step, "trainer.json"),
    )
  const identity = (path: string) => JSON.parse(readFileSync(path, "utf8")).identity
  const stopped = new AbortController()
  for await (const event of runHere(parseConfig(settings("former", "pairs.jsonl")), {
    signal: stopped.signal,
  })) {
    if (event.type === "checkpoint" && event.step === 3) stopped.abort()
  }
  const [path] = states("former")
  const { sha256: _, ...state } = JSON.parse(readFileSync(path!, "utf8"))
  expect(state.identity.together).toBe(true)
  const { together: __, ...older } = state.identity
  const { version, progress, files } = state
  const then = { version, progress, identity: older, files }
  const sha256 = createHash("sha256").update(JSON.stringify(then)).digest("hex")
  writeFileSync(path!, JSON.stringify({ ...then, sha256 }))
  await run("former", "pairs.jsonl", { resume: true, max_steps: 6, save_steps: 1 })
  const later = states("former").map(identity)
  expect(later.length).toBeGreaterThan(1)
  expect(later.every((each) => !("together" in each))).toBe(true)
  // The rows are asked the same and rounded otherwise.
  const losses = (name: string) => stepsOf(readRun(join(root, name)).events).map((s) => s.loss)
  const [whole, former] = [losses("whole"), losses("former")]
  expect(former.slice(0, 3)).toEqual(whole.slice(0, 3))
  for (const [i, loss] of former.entries()) expect(loss).toBeCloseTo(whole[i]!, 5)
})

const storedReferences = () =>
  readdirSync(join(root, "cache"), { recursive: true, encoding: "utf8" })
    .filter((path) => /reference-\w+\.safetensors$/.test(path))
    .map((path) => join(root, "cache", path))

test("a reference that was damaged on the disk is measured again, and the run says so", async () => {
  const honest = stepsOf(await run("honest", "pairs.jsonl")).map(({ loss }) => loss)
  const flip = (bytes: Buffer) => {
    bytes[bytes.length - 3]! ^= 64
    return bytes
  }
  const noTensor = (bytes: Buffer) =>
    Buffer.from(bytes.toString("latin1").replace('"sides"', '"sidez"'), "latin1")
  for (const [name, damage] of Object.entries({
    flip,
    noTensor,
    cut: (bytes: Buffer) => bytes.subarray(0, bytes.length - 8),
    empty: () => Buffer.alloc(0),
  })) {
    for (const path of storedReferences()) writeFileSync(path, damage(readFileSync(path)))
    const events = await run(`damaged-${name}`, "pairs.jsonl")
    expect(stepsOf(events).map(({ loss }) => loss)).toEqual(honest)
    const said = events.filter(
      (event) => event.type === "warning" && event.code === "damaged-cache",
    )
    expect(said.length, name).toBeGreaterThan(0)
  }
  const events = await run("again", "pairs.jsonl")
  expect(events.some((event) => event.type === "warning" && event.code === "damaged-cache")).toBe(
    false,
  )
})

test("numbers of another reference are noticed at the first step", async () => {
  await run("known", "pairs.jsonl")
  for (const path of storedReferences()) {
    const rows = await readReference(path)
    for (const own of rows.values()) for (const one of own) one.set(one.map((x) => 1.2 * x))
    await writeReference(path, rows)
  }
  await expect(run("other", "pairs.jsonl")).rejects.toThrow("reference-mismatch")
})

test.each([
  [{ adapter: { type: "lora", lora_dropout: 0.1 } }, "adapter.lora_dropout: 0.1 makes noise"],
  [{ objective: "kto", batch_size: 1 }, "a step needs 2 rows at least"],
])("%j is refused: %s", async (more, message) => {
  await expect(run("refused", "pairs.jsonl", more)).rejects.toThrow(message)
})
