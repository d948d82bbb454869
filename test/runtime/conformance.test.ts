import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type Graph, KEEP_LEVELS, type NdArray, ndarray } from "../../src/graph/index.ts"
import { blockGraphs } from "../../src/models/block/block-graphs.ts"
import { keyBegins, packLayout } from "../../src/models/decoder/pack.ts"
import { modelConfig } from "../../src/models/families/model-config.ts"
import { disagreement, seedFor, traced } from "../../src/runtime/conformance/judge.ts"
import { opCases, samples, spread, symbols } from "../../src/runtime/conformance/op-cases.ts"
import { type Device, interpret } from "../../src/runtime/index.ts"
import { BF16, DEVICES, deviceOrSay } from "./devices.ts"

type Feeds = Record<string, NdArray>

/** Every output of the graph on the device is what the float64 reference says. */
async function agrees(device: Device, graph: Graph, feeds: Feeds, tolerance: number) {
  expect(await disagreement(device, graph, feeds, tolerance), graph.name).toBeUndefined()
}

/** Besides a soft cap: what a device cannot do, and says so when it compiles. */
const REFUSED: Readonly<Record<string, readonly string[]>> = {
  // Splitting a byte into two codes needs integer kernels that the WebGPU provider does not have.
  webgpu: ["dequantize 2"],
}

describe.each([...DEVICES, BF16])("$name against the float64 reference", ({ name, tolerance }) => {
  let device: Device | undefined
  beforeAll(async () => {
    device = await deviceOrSay(name)
  })
  afterAll(() => device?.release())

  test.for(opCases)("$name and its gradient", async (opCase, { skip }) => {
    if (!device) return skip(`no ${name} here`)
    const xs = symbols(opCase)
    const feeds = samples(opCase)
    const wrt = xs.filter((x) => x.dtype === "f32")
    const { forward, backward } = traced(opCase.f(...xs), wrt)
    const isLacking = name === "webgpu" && opCase.needs === "softcap"
    if (isLacking || REFUSED[name]?.includes(opCase.name)) {
      await expect(device.compile(forward)).rejects.toThrow("has no kernel on this device")
      return
    }
    await agrees(device, forward, feeds, tolerance)
    if (backward.outputs.length === 0) return
    const dy = seedFor(interpret(forward, feeds).y!)
    await agrees(device, backward, { ...feeds, dy }, tolerance)
  })

  test.for(KEEP_LEVELS)(
    "a whole block, packed, forward and backward: %s",
    async (level, { skip }) => {
      if (!device) return skip(`no ${name} here`)
      const tokens = 160
      const { forward, backward, saved } = blockGraphs(
        { shape: BLOCK, kind: BLOCK.layers[0]!, tokens },
        level,
      )
      const feeds = blockFeeds([forward, backward], saved, tokens)
      await agrees(device, forward, feeds, 20 * tolerance)
      const values = interpret(forward, feeds)
      await agrees(device, backward, { ...feeds, ...values }, 100 * tolerance)
    },
  )
})

const { shape: BLOCK } = modelConfig({
  model_type: "qwen3",
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 1,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 4,
  vocab_size: 32,
  attention_bias: true,
  max_position_embeddings: 256,
})

/**
 * Three sequences, two of which begin alike, in a pack that is not full, and numbers for everything
 * else.
 */
function blockFeeds(graphs: readonly Graph[], saved: readonly string[], tokens: number): Feeds {
  const layout = packLayout({ lengths: [40, 60, 1, 45], follows: [-1, 0, 0, -1] }, tokens)
  const begins = keyBegins(layout, undefined)
  const feeds: Feeds = {
    ends: ndarray([tokens], layout.ends),
    key_begins: ndarray([begins.length], begins),
  }
  for (const [i, { name, shape }] of graphs.flatMap((each) => each.inputs).entries()) {
    if (name in feeds || saved.includes(name)) continue
    const dims = shape as readonly number[]
    const size = dims.reduce((product, dim) => product * dim, 1)
    feeds[name] = ndarray(dims, spread(size, [-0.7, 0.7], i))
  }
  return feeds
}
