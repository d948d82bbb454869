import { afterAll, describe, expect, test } from "vitest"
import type { Config } from "../../src/config/index.ts"
import { readModelConfig } from "../../src/models/files/index.ts"
import {
  loraInputs,
  loraParameters,
  loraSpec,
  packSequences,
  parameterCount,
  quantizedModelBytes,
} from "../../src/models/index.ts"
import { objectiveFromConfig } from "../../src/objectives/index.ts"
import type { Device, HostTensor } from "../../src/runtime/index.ts"
import { bf16Kernel, openDevice } from "../../src/runtime/node.ts"
import { type MemoryPlanOptions, memoryPlan } from "../../src/train/memory-plan.ts"
import { objectiveHead } from "../../src/train/objective-head.ts"
import type { Policy } from "../../src/train/policy.ts"
import { GOLDEN, GROUP_SIZE, goldenPolicy } from "./golden-run.ts"

const device = await openDevice({ device: "cpu", threads: 1 })
afterAll(() => device.release())
const { shape: SHAPE } = await readModelConfig(`${GOLDEN}models/qwen2`)

/** A device that remembers the memory behind every array it was given or made. */
function counting(device: Device) {
  const buffers = new Set<ArrayBufferLike>()
  const note = <T extends { readonly data?: HostTensor["data"] | undefined }>(tensor: T): T => {
    if (tensor.data) buffers.add(tensor.data.buffer)
    return tensor
  }
  const counted: Device = {
    sharesHostMemory: device.sharesHostMemory,
    limits: device.limits,
    products: device.products,
    description: device.description,
    compile: async (graph, options) => {
      const executable = await device.compile(graph, options)
      return {
        graph: executable.graph,
        release: () => executable.release(),
        run: async (feeds, options) => {
          const results = await executable.run(feeds, options)
          for (const tensor of Object.values(results)) note(tensor)
          return results
        },
      }
    },
    upload: async (host) => note(await device.upload(host)),
    uploadFactor: async (host) => note(await device.uploadFactor(host)),
    download: (tensor) => device.download(tensor),
    release: () => device.release(),
  }
  const bytesBeside = (others: ReadonlySet<ArrayBufferLike>) =>
    [...buffers].reduce((sum, buffer) => sum + (others.has(buffer) ? 0 : buffer.byteLength), 0)
  return { device: counted, buffers, bytesBeside }
}

const TOKENS = 128
const { settings } = objectiveHead(objectiveFromConfig("dft"))

/** The plan of a golden run with one row of TOKENS. */
function planOf(
  { decoder }: Policy,
  recompute: "auto" | "always",
  bits?: 4 | 8,
  precision?: "bf16",
) {
  const { shape, lora } = decoder
  return memoryPlan({
    shape,
    lora,
    tokens: TOKENS,
    recompute,
    bytes: Number.POSITIVE_INFINITY,
    headRows: TOKENS,
    headSettings: settings,
    process: 0,
    routers: decoder.routerAuxLossCoef > 0,
    ...(precision && { precision }),
    ...(bits
      ? {
          quantization: { bits, groupSize: GROUP_SIZE },
          frozenBytes: quantizedModelBytes(shape, { bits, groupSize: GROUP_SIZE }),
        }
      : {}),
  })
}

describe.each([
  ["all weights", {}],
  ["an adapter", { adapter: true }],
  ["an adapter on 8 bits", { adapter: true, bits: 8 }],
  ["an adapter on 4 bits", { adapter: true, bits: 4 }],
] as const)("the plan counts the arrays of training %s", (_, kind) => {
  const bits = "bits" in kind ? kind.bits : undefined

  test.each(["auto", "always"] as const)("recompute: %s", async (recompute) => {
    const { device: counted, buffers, bytesBeside } = counting(device)
    const run = { device: counted, family: "qwen2", ...kind }
    const policy = await goldenPolicy(run, (layer) => plan.keep(layer))
    const plan = planOf(policy, recompute, bits)
    const lasting = new Set(buffers)
    expect(bytesBeside(new Set())).toBe(plan.weights + plan.gradients + plan.moments)

    const { decoder } = policy
    const tokenIds = Int32Array.from({ length: TOKENS }, (_, i) => i % decoder.shape.vocabSize)
    const lossMask = new Uint8Array(TOKENS).fill(1, 1)
    await decoder.train(packSequences([{ tokenIds, lossMask }]), settings)
    const ratio = plan.activations / bytesBeside(lasting)
    expect(ratio).toBeGreaterThan(0.8)
    expect(ratio).toBeLessThan(1.2)
    await policy.release()
  })
})

test.each(["fp32", "bf16"] as const)(
  "the arrays of a routers' loss are counted: %s",
  async (dtype) => {
    if (dtype === "bf16" && bf16Kernel() === undefined) return
    const opened = await openDevice({ device: "cpu", threads: 1, dtype })
    const { device: counted, buffers, bytesBeside } = counting(opened)
    const arrays: number[] = []
    const planned: number[] = []
    for (const routerAuxLossCoef of [0, 0.1]) {
      const run = { device: counted, family: "qwen3_moe", routerAuxLossCoef }
      const policy = await goldenPolicy(run, (layer) => plan.keep(layer))
      const plan = planOf(policy, "auto", undefined, dtype === "bf16" ? dtype : undefined)
      const lasting = new Set(buffers)
      const { decoder } = policy
      const tokenIds = Int32Array.from({ length: TOKENS }, (_, i) => i % decoder.shape.vocabSize)
      const lossMask = new Uint8Array(TOKENS).fill(1, 1)
      await decoder.train(packSequences([{ tokenIds, lossMask }]), settings)
      arrays.push(bytesBeside(lasting))
      planned.push(plan.activations)
      await policy.release()
    }
    await opened.release()
    arrays.forEach((bytes, i) => {
      expect(planned[i]! / bytes).toBeCloseTo(1, 2)
    })
    expect(planned[1]! - planned[0]!).toBe(4 * TOKENS) // which tokens are real; p is kept anyway
  },
)

test("an untied head and a reference are counted", () => {
  const shape = { ...SHAPE, tieWordEmbeddings: false }
  const options = {
    shape,
    tokens: TOKENS,
    recompute: "auto",
    bytes: Number.POSITIVE_INFINITY,
    headRows: TOKENS,
    process: 0,
  } as const
  const alone = memoryPlan({ ...options, headSettings: settings })
  const head = objectiveHead(objectiveFromConfig("asft"))
  const beside = memoryPlan({ ...options, headSettings: head.settings })
  expect(beside.weights).toBe(2 * alone.weights)
  expect(alone.weights).toBe(4 * parameterCount(shape))
})

describe("moments, averages and updates of an adapter", () => {
  const spec = loraSpec({ loraRank: 4, loraAlpha: 8, targetModules: ["q_proj"] }, SHAPE)
  const of = (optimizer: Config["optimizer"], more: object = {}, adapter = spec) =>
    memoryPlan({
      ...{ shape: SHAPE, lora: loraInputs(adapter), tokens: TOKENS, recompute: "always" },
      ...{ bytes: Number.POSITIVE_INFINITY, headRows: TOKENS, headSettings: settings, process: 0 },
      ...{ optimizer, ...more },
    })
  const matrices = loraParameters(SHAPE, spec).map(({ shape }) => shape as [number, number])
  const elements = matrices.reduce((sum, [rows, columns]) => sum + rows * columns, 0)
  const sides = matrices.reduce((sum, [rows, columns]) => sum + rows + columns, 0)

  test.each<[Config["optimizer"], number]>([
    ["adamw", 8 * elements],
    ["lion", 4 * elements],
    ["adafactor", 4 * sides],
    ["muon", 4 * elements],
    ["adamw-8bit", 8 * elements], // matrices of fewer than 4,096 numbers keep float32
  ])("%s", (optimizer, bytes) => {
    expect(of(optimizer).moments).toBe(bytes)
    expect(of(optimizer, { averages: true }).moments).toBe(bytes + 4 * elements)
  })

  test("DoRA's magnitudes train, and are AdamW's beside Muon", () => {
    const dora = { ...spec, useDora: true }
    const magnitudes = matrices.length / 2
    const out = matrices[1]![0]
    expect(of("muon", {}, dora).moments).toBe(4 * elements + 8 * magnitudes * out)
    expect(of("muon", {}, dora).gradients).toBe(4 * (elements + magnitudes * out))
  })

  test("a reference of an adapter that began as something is a model of its own", () => {
    const { settings: headSettings } = objectiveHead(objectiveFromConfig("asft"))
    const [alone, beside] = [false, true].map((startsChanged) =>
      of("adamw", { headSettings, startsChanged }),
    )
    expect(beside!.weights - alone!.weights).toBe(4 * parameterCount(SHAPE))
  })

  test("an optimizer that takes a matrix whole is counted with its copies", () => {
    const shape = { ...SHAPE, vocabSize: 100_000 }
    const options = {
      ...{ shape, tokens: 16, bytes: Number.POSITIVE_INFINITY },
      ...{ headRows: 1, headSettings: settings, process: 0 },
      recompute: "always",
    } as const
    const [whole, pieces] = (["adafactor", "adamw"] as const).map((optimizer) =>
      memoryPlan({ ...options, optimizer }),
    )
    const embedding = 4 * shape.vocabSize * shape.hiddenSize
    expect(whole!.workspace).toBeGreaterThan(3 * embedding)
    expect(pieces!.workspace).toBeLessThan(whole!.workspace)
  })
})

test.each<[string, Partial<MemoryPlanOptions>]>([
  ["moments of 8 bits", { optimizer: "adamw-8bit" }],
  ["codes of 4 bits", { quantization: { bits: 4, groupSize: 32 } }],
  ["a workspace with gaps", { tokens: 77 }],
])("bytes are whole numbers: %s", (_, more) => {
  const { keep: _keep, ...plan } = memoryPlan({
    ...{ shape: { ...SHAPE, vocabSize: 1031 }, tokens: TOKENS, recompute: "auto", bytes: 1e9 },
    ...{ headRows: TOKENS, headSettings: settings, process: 0 },
    ...more,
  })
  expect(Object.entries(plan).filter(([, bytes]) => !Number.isInteger(bytes))).toEqual([])
})

test("what does not fit is recomputed, layer by layer", () => {
  const kept = [1e7, 4e5, 3e5, 0].map(
    (bytes) =>
      memoryPlan({
        shape: SHAPE,
        tokens: TOKENS,
        recompute: "auto",
        bytes,
        headRows: TOKENS,
        headSettings: settings,
        process: 0,
      }).keptLayers,
  )
  expect(kept[0]).toBe(SHAPE.numHiddenLayers)
  expect(kept.at(-1)).toBe(0)
  expect(kept).toEqual(kept.toSorted((a, b) => b - a))
})
