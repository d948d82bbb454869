import { createRequire } from "node:module"
import { afterAll, describe, expect, test } from "vitest"
import {
  memoryFolder,
  openTabModel,
  openWebDevice,
  PackedBase,
  rowValues,
  type Sample,
  TabRun,
  tabConfig,
  tabRows,
  type WebRuntime,
} from "../../src/browser/index.ts"
import { openDevice } from "../../src/runtime/node.ts"
import { ROWS } from "./arithmetic-rows.ts"
import { DEMO_FILES } from "./demo-model.ts"

const ort = createRequire(import.meta.url)("onnxruntime-web") as WebRuntime
const wasm = await openWebDevice(ort, { device: "wasm", threads: 1 })
const cpu = await openDevice({ device: "cpu", threads: 1 })
afterAll(async () => {
  await cpu.release()
  await wasm.release()
})

const INT8 = { bits: 8, groupSize: 64 } as const

describe.each([
  ["float32", undefined, wasm],
  ["int8", INT8, wasm],
  ["int8, natively", INT8, cpu],
] as const)("a base in %s under two adapters", (_, quantization, device) => {
  test("is packed once, and samples what each of them has learnt so far", async () => {
    const model = await openTabModel(memoryFolder("demo/model", DEMO_FILES), { quantization })
    const packedBase = new PackedBase(device, model)
    const runs = await Promise.all(
      ["sft", "dft"].map((objective) => opened(objective, { model, device, packedBase })),
    )
    for (const steps of [1, 2]) {
      for (let step = 0; step < steps; step++) for (const run of runs) await run.advance()
      const said = []
      for (const run of runs) {
        const sample = await sampled(run)
        said.push(sample.logprobs)
        await expectAsSeen(run, sample)
      }
      expect(said[0]).not.toEqual(said[1])
    }
    for (const run of runs) await run.release()
    await packedBase.release()
  })
})

function opened(
  objective: string,
  parts: Pick<Parameters<typeof TabRun.open>[0], "model" | "device"> & { packedBase: PackedBase },
): Promise<TabRun> {
  const config = tabConfig({
    objective,
    adapter: { type: "lora", r: 4 },
    learning_rate: 1e-2,
    batch_size: 4,
    max_steps: 4,
    micro_batch_tokens: 256,
    data: { max_length: 192 },
  })
  const rows = tabRows("rows", rowValues(ROWS, "rows"), config, parts.model)
  return TabRun.open({ ...parts, config, rows })
}

const PROMPT = Int32Array.from([5, 77, 31, 200, 9])

async function sampled(run: TabRun): Promise<Sample> {
  const prompt = { tokenIds: [...PROMPT] }
  const request = { prompt, n: 1, temperature: 0, maxNewTokens: 8, seed: 0 }
  for await (const sample of run.sample([request])) return sample
  throw new Error("no sample came")
}

/** The training graphs give the sampled tokens the probabilities that decoding said. */
async function expectAsSeen(run: TabRun, { tokenIds, logprobs }: Sample): Promise<void> {
  const ids = Int32Array.from([...PROMPT, ...tokenIds])
  const seen = await run.look({
    tokenIds: ids,
    lossMask: Uint8Array.from(ids, (_, t) => (t < PROMPT.length ? 0 : 1)),
    tokenClass: new Uint8Array(ids.length),
    source: "said",
    line: 1,
    weight: 1,
    value: 0,
  })
  expect(tokenIds.length).toBeGreaterThan(0)
  for (const [i, logprob] of logprobs.entries()) {
    expect(Math.exp(logprob)).toBeCloseTo(seen[PROMPT.length + i]!.p!, 4)
  }
}
