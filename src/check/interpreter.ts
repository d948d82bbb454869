/** The engine beside the float64 interpreter that judges every device. */
import { type Graph, type NdArray, ndarray } from "../graph/index.ts"
import { blockGraphs } from "../models/block/block-graphs.ts"
import { layerPlans } from "../models/block/layer-plan.ts"
import { layerPrefix } from "../models/block/parameters.ts"
import { keyBegins, packLayout } from "../models/decoder/pack.ts"
import { RopeRows } from "../models/families/rope.ts"
import { openWeights } from "../models/files/index.ts"
import { type DeviceTensor, type HostTensor, interpret } from "../runtime/index.ts"
import { baseWeights } from "../train/model-weights.ts"
import { type Comparison, judged, type Row, relative } from "./comparison.ts"
import type { Subject } from "./subject.ts"

const ROW: Row = {
  name: "interpreter",
  compared: "the first block, forward and backward, with a plain float64 interpreter",
  usual: 1e-4,
}
/** Tokens of two sequences, and some that fill up. */
const LENGTHS = [9, 5]
const TOKENS = 16

export async function interpreterComparison({ plan, tried, signal }: Subject): Promise<Comparison> {
  const { shape } = plan.model
  const layer = layerPlans(shape, undefined)[0]!
  const options = { shape, tokens: TOKENS, kind: layer.kind, lora: undefined }
  const { forward, backward, saved } = blockGraphs(options, "products")
  const weights = await baseWeights(
    await openWeights(plan.modelFolder),
    undefined,
    signal ? { signal } : {},
  )
  const feeds = blockFeeds([forward, backward], saved, layerOf(weights))
  const layout = packLayout({ lengths: LENGTHS }, TOKENS)
  feeds.set("ends", ndarray([TOKENS], layout.ends))
  feeds.set("places", ndarray([TOKENS], layout.positionIds))
  const begins = keyBegins(layout, layer.kind.window)
  feeds.set("key_begins", ndarray([begins.length], begins))
  if (layer.kind.rope) {
    const { cos, sin } = new RopeRows(layer.kind.rope).at(
      layout.positionIds,
      layout.sequenceLengths,
    )
    const dims = [TOKENS, layer.kind.rope.rotaryDim / 2]
    feeds.set("cos", ndarray(dims, cos)).set("sin", ndarray(dims, sin))
  }
  const device = await tried.openDevice({
    device: plan.engine.device,
    threads: plan.engine.threads,
    dtype: "fp32",
  })
  try {
    let worst = { difference: 0, detail: "" }
    for (const graph of [forward, backward]) {
      const expected = interpret(graph, Object.fromEntries(feeds))
      const executable = await device.compile(graph)
      const fed: Record<string, DeviceTensor> = {}
      for (const { name, dtype } of graph.inputs) {
        fed[name] = await device.upload(hostTensor(feeds.get(name)!, dtype))
      }
      const results = await executable.run(fed)
      for (const { name } of graph.outputs) {
        const { data } = await device.download(results[name]!)
        const difference = relative(Array.from(data as Float32Array), expected[name]!.data)
        if (!(difference <= worst.difference)) worst = { difference, detail: `most in ${name}` }
        if (saved.includes(name)) feeds.set(name, expected[name]!)
      }
      await executable.release()
    }
    return judged(ROW, worst)
  } finally {
    await device.release()
  }
}

function layerOf(weights: ReadonlyMap<string, HostTensor>): ReadonlyMap<string, HostTensor> {
  const start = layerPrefix(0)
  return new Map(
    [...weights].flatMap(([name, tensor]) =>
      name.startsWith(start) ? [[name.slice(start.length), tensor] as const] : [],
    ),
  )
}

/** The layer's weights, and small numbers without order for all that is computed elsewhere. */
function blockFeeds(
  graphs: readonly Graph[],
  saved: readonly string[],
  weights: ReadonlyMap<string, HostTensor>,
): Map<string, NdArray> {
  const feeds = new Map<string, NdArray>()
  let state = 1
  for (const { name, shape } of graphs.flatMap((graph) => graph.inputs)) {
    if (feeds.has(name) || saved.includes(name)) continue
    const dims = shape as readonly number[]
    const given = weights.get(name)?.data as Float32Array | undefined
    const length = dims.reduce((product, dim) => product * dim, 1)
    const numbers = () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      return state / 2 ** 31 - 1
    }
    feeds.set(name, ndarray(dims, given ?? Float64Array.from({ length }, numbers)))
  }
  return feeds
}

function hostTensor({ shape, data }: NdArray, dtype: HostTensor["dtype"]): HostTensor {
  if (dtype === "i64") return { dtype, shape, data: BigInt64Array.from(data, BigInt) }
  return { dtype, shape, data: Float32Array.from(data) }
}
