import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest"
import { type CheckOptions, check } from "../../src/check/index.ts"
import { AS_BUILT, type Tried } from "../../src/check/subject.ts"
import { parseConfig } from "../../src/config/index.ts"
import { RopeRows } from "../../src/models/families/rope.ts"
import type { Device } from "../../src/runtime/index.ts"
import { bf16Kernel } from "../../src/runtime/node.ts"
import { preferenceRows } from "../train/preference-rows.ts"
import { sumRows, tinyModel } from "../train/tiny-model.ts"

const root = mkdtempSync(join(tmpdir(), "dftune-check-test-"))
beforeAll(() => {
  process.env.DFTUNE_CACHE = join(root, "cache")
  process.env.DFTUNE_PYTHON = join(root, "no-python") // its engine is tried by tests of its own
  tinyModel(root)
  sumRows(root, 20)
})
afterAll(() => rmSync(root, { recursive: true, force: true }))

const config = (more: object = {}) =>
  parseConfig({
    model: join(root, "model-start"),
    data: { train: [{ path: join(root, "sums.jsonl") }], max_length: 64 },
    objective: "dft",
    batch_size: 4,
    max_steps: 4,
    engine: { name: "onnx", device: "cpu", threads: 1 },
    output_dir: join(root, "out"),
    ...more,
  })
const hasBf16 = bf16Kernel() !== undefined

/** Names of the unusual rows. */
async function red(options: CheckOptions, more: object = {}): Promise<string[]> {
  const { comparisons, passed } = await check(config(more), { runs: false, ...options })
  const names = comparisons.flatMap(({ name, verdict }) => (verdict === "unusual" ? [name] : []))
  expect(passed).toBe(names.length === 0)
  return names
}

test("as it is built nothing is unusual, and nothing is written into output_dir", async () => {
  const { comparisons, passed } = await check(config())
  expect(passed).toBe(true)
  const verdicts = Object.fromEntries(comparisons.map(({ name, verdict }) => [name, verdict]))
  const precise = hasBf16 ? "usual" : "not made"
  expect(verdicts).toEqual({
    kernels: precise,
    "precision of the NLL": precise,
    "precision of the loss": precise,
    "precision of the gradients": precise,
    packing: "usual",
    "micro-batches": "usual",
    "adapter at its start": "usual",
    "merged adapter": "usual",
    interpreter: "usual",
    resume: "usual",
    engines: "not made",
  })
  expect(existsSync(join(root, "out"))).toBe(false)
})

test.each([
  { adapter: { r: 4 } },
  { objective: "asft" },
  { adapter: { r: 4 }, quantization: "int8" },
])("nor with %j", async (more) => {
  expect(await red({}, more)).toEqual([])
})

/** Every result once more rounded to bfloat16. */
function roundingTwice(device: Device): Device {
  const round = (data: Float32Array) => {
    const bits = new Uint32Array(data.buffer, data.byteOffset, data.length)
    bits.forEach((value, i) => {
      bits[i] = (value + 0x7fff + ((value >> 16) & 1)) & 0xffff0000
    })
  }
  return new Proxy(device, {
    get(target, key) {
      if (key !== "compile") {
        const found = Reflect.get(target, key, target)
        return typeof found === "function" ? found.bind(target) : found
      }
      return async (...args: Parameters<Device["compile"]>) => {
        const executable = await target.compile(...args)
        return {
          graph: executable.graph,
          release: () => executable.release(),
          run: async (...given: Parameters<typeof executable.run>) => {
            const results = await executable.run(...given)
            for (const { data } of Object.values(results)) {
              if (data instanceof Float32Array) round(data)
            }
            return results
          },
        }
      }
    },
  })
}

test("of a run on pairs both sides are compared, with what they begin with once", async () => {
  preferenceRows(root)
  const data = { train: [join(root, "pairs.jsonl")], max_length: 64 }
  const more = { data, objective: "dpo" }
  expect(await red({}, more)).toEqual([])
  const labels = { train: [join(root, "labels.jsonl")], max_length: 64 }
  expect(await red({}, { data: labels, objective: "kto" })).toEqual([])
  let shared = 0
  const leaking: Tried["stepBatch"] = (rows, options) => {
    const batch = stepBatch(rows, options)
    const microBatches = batch.microBatches.map((one) => {
      const { follows, ...pack } = one.pack
      if (!follows) return one
      shared += 1
      return { ...one, pack } // what goes on from a beginning does not see it
    })
    return { ...batch, microBatches }
  }
  expect(await red({ tried: { stepBatch: leaking } }, more)).toEqual(["packing"])
  expect(shared).toBeGreaterThan(0)
})

const { stepBatch, adapterWeights, mergeAdapter, openDevice } = AS_BUILT
const faults: Readonly<Record<string, { tried: Partial<Tried>; row: string }>> = {
  "a kernel that rounds twice": {
    row: "kernels",
    tried: {
      openDevice: async (options) => {
        const device = await openDevice(options)
        return options?.dtype === "bf16" ? roundingTwice(device) : device
      },
    },
  },
  "a packing that leaks one token": {
    row: "packing",
    tried: {
      stepBatch: (rows, options) => {
        const batch = stepBatch(rows, options)
        const microBatches = batch.microBatches.map((one) => {
          const [first, second, ...rest] = one.pack.lengths
          if (second === undefined) return one
          return { ...one, pack: { ...one.pack, lengths: [first! + 1, second - 1, ...rest] } }
        })
        return { ...batch, microBatches }
      },
    },
  },
  "a dropped micro-batch": {
    row: "micro-batches",
    tried: {
      stepBatch: (rows, options) => {
        const batch = stepBatch(rows, options)
        const { microBatches } = batch
        return {
          ...batch,
          microBatches: microBatches.slice(0, Math.max(1, microBatches.length - 1)),
        }
      },
    },
  },
  "gradients divided by the micro-batches too": {
    row: "micro-batches",
    tried: {
      stepBatch: (rows, options) => {
        const batch = stepBatch(rows, options)
        const { counts, microBatches } = batch
        return { ...batch, counts: { ...counts, tokens: counts.tokens * microBatches.length } }
      },
    },
  },
  "an adapter merged twice": {
    row: "merged adapter",
    tried: {
      mergeAdapter: (...given) => {
        mergeAdapter(...given)
        mergeAdapter(...given)
      },
    },
  },
  "a stale adapter": {
    row: "adapter at its start",
    tried: {
      adapterWeights: (...given) => {
        const tensors = adapterWeights(...given)
        for (const [name, { data }] of tensors) {
          if (name.includes("lora_B")) data.fill(0.01 as never)
        }
        return tensors
      },
    },
  },
}

describe.each(Object.entries(faults))("%s", (_, { tried, row }) => {
  test.skipIf(row === "kernels" && !hasBf16)(`turns "${row}" red and no other`, async () => {
    expect(await red({ tried })).toEqual([row])
  })
})

test("a rope that goes on from one row of a pack to the next", async () => {
  const { at } = RopeRows.prototype
  let packed = 0
  const spy = vi.spyOn(RopeRows.prototype, "at").mockImplementation(function (
    this: RopeRows,
    places,
    lengths,
  ) {
    const first = Array.from(places).indexOf(0, 1)
    if (first < 0) return at.call(this, places, lengths)
    packed++
    // the later row's tokens from the third on are one place further
    const moved = Array.from(places, (place, i) => (i > first + 2 ? place + 1 : place))
    return at.call(this, moved, lengths)
  })
  expect(await red({})).toEqual(["packing"])
  spy.mockRestore()
  expect(packed).toBeGreaterThan(0)
})

test("engine: torch is refused by name", async () => {
  await expect(check(config({ engine: "torch" }))).rejects.toThrow("--set engine=onnx")
})
