import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import type { StepEvent } from "../../src/run/events.ts"
import { runHere } from "../../src/train/run.ts"
import { tinyModel } from "./tiny-model.ts"

const root = mkdtempSync(join(tmpdir(), "dftune-sources-"))
afterAll(() => rmSync(root, { recursive: true, force: true }))
const rows = (name: string, from: number) => {
  const text = Array.from({ length: 6 }, (_, i) =>
    JSON.stringify({ prompt: `${name} ${from + i}: `, completion: `it is ${7 * i + from}.` }),
  )
  writeFileSync(join(root, `${name}.jsonl`), `${text.join("\n")}\n`)
}
beforeAll(() => {
  process.env.DFTUNE_CACHE = join(root, "cache")
  tinyModel(root)
  rows("facts", 10)
  rows("sums", 30)
})

const config = (name: string, facts: unknown, objective: unknown, more: object = {}) =>
  parseConfig({
    model: join(root, "model-start"),
    data: {
      train: [
        { path: join(root, "facts.jsonl"), ...(facts === undefined ? {} : { objective: facts }) },
        join(root, "sums.jsonl"),
      ],
      eval: [join(root, "sums.jsonl")],
      max_length: 64,
    },
    objective,
    batch_size: 12,
    learning_rate: 1e-3,
    max_steps: 2,
    save_steps: 1,
    engine: { name: "onnx", device: "cpu", threads: 1 },
    output_dir: join(root, name),
    ...more,
  })

async function steps(...args: Parameters<typeof config>): Promise<StepEvent[]> {
  const found: StepEvent[] = []
  for await (const event of runHere(config(...args))) if (event.type === "step") found.push(event)
  return found
}

test("a source has its own objective, every other the run's", async () => {
  const [sft, dft, mixed] = [
    (await steps("sft", undefined, "sft"))[0]!,
    (await steps("dft", undefined, "dft"))[0]!,
    (await steps("mixed", "sft", { name: "dft", keep_special: true }))[0]!,
  ]
  expect(mixed.nll).toBe(sft.nll)
  // All rows are in the one step: the loss lies between those of either objective alone.
  expect(mixed.loss).toBeGreaterThan(dft.loss)
  expect(mixed.loss).toBeLessThan(sft.loss)
  const [same] = await steps("same", "dft", "dft")
  expect(same!.loss).toBeCloseTo(dft.loss, 7)
})

test("a resumed run keeps the sources' objectives", async () => {
  await steps("first", "sft", "dft")
  await expect(steps("first", "sft", "dft", { resume: true })).resolves.toHaveLength(1)
  await expect(steps("first", undefined, "dft", { resume: true })).rejects.toThrow(
    "data.objectives",
  )
})

test.each([
  ["dpo", "dft", "sources of one run can differ in objectives on targets alone"],
  [{ name: "sft", normalization: "sequences" }, "dft", "a step has one divisor"],
])("%j beside %j is refused: %s", async (facts, objective, message) => {
  await expect(steps("refused", facts, objective)).rejects.toThrow(message)
})

test("a wrong parameter of a source's objective is named by its place", () => {
  expect(() => config("x", { name: "focal", gamma: 3 }, "dft")).toThrow(
    /unknown key "gamma".*focal takes g/,
  )
})
