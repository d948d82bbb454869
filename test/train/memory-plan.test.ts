import { afterAll, describe, expect, test } from "vitest"
import { readModelConfig } from "../../src/models/files/index.ts"
import { packSequences, parameterCount, quantizedModelBytes } from "../../src/models/index.ts"
import { objectiveFromConfig } from "../../src/objectives/index.ts"
import type { Device, HostTensor } from "../../src/runtime/index.ts"
import { openDevice } from "../../src/runtime/node.ts"
import { memoryPlan } from "../../src/train/memory-plan.ts"
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
function planOf({ decoder }: Policy, recompute: "auto" | "always", bits?: 4 | 8) {
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
