import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { type ConfigInput, parseConfig } from "../../src/config/index.ts"
import { train } from "../../src/engines/index.ts"
import { openGenerator } from "../../src/generate/index.ts"
import type { SampleEvent } from "../../src/run/events.ts"
import { sumRows, tinyModel } from "./tiny-model.ts"

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "dftune-samples-"))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const CASES: readonly [string, Partial<ConfigInput>][] = [
  ["full", {}],
  ["lora", { adapter: { r: 4, lora_alpha: 8 }, learning_rate: 1e-2 }],
]

test.each(CASES)("the last samples of a run are what its model says: %s", async (name, more) => {
  const output = join(folder, name)
  const config = parseConfig({
    model: tinyModel(folder),
    data: { train: [{ path: sumRows(folder, 12) }], max_length: 64 },
    learning_rate: 2e-3,
    batch_size: 4,
    micro_batch_tokens: 128,
    max_steps: 3,
    save_steps: 0,
    generate_samples: { prompts: 3, every: 2, max_new_tokens: 8 },
    ...more,
    engine: { name: "onnx", device: "cpu" },
    output_dir: output,
  })
  const samples: SampleEvent[] = []
  for await (const event of train(config)) if (event.type === "sample") samples.push(event)
  expect(samples.map(({ step }) => step)).toEqual([0, 0, 0, 2, 2, 2, 3, 3, 3])
  for (const { prompt, reference } of samples) {
    const [, a, b] = /(\d+) \+ (\d+)/.exec(prompt)!
    expect(reference).toBe(`${a} + ${b} = ${Number(a) + Number(b)}.`)
  }
  const lines = readFileSync(join(output, "samples.jsonl"), "utf8").trim().split("\n")
  expect(lines.map((line) => JSON.parse(line))).toEqual(samples.map(({ time, ...said }) => said))
  const model = await openGenerator(join(output, "model"))
  try {
    for (const { prompt, completion } of samples.slice(6)) {
      const request = { prompt, n: 1, temperature: 0, maxNewTokens: 8, seed: 0 }
      for await (const sample of model.sample([request])) {
        expect(sample.completion).toBe(completion)
      }
    }
  } finally {
    await model.release()
  }
})
