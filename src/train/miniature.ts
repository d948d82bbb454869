/**
 * What a run will take, from a few of its layers with weights that mean nothing: no weight is read.
 */
import { collectGarbage } from "../host/collect-garbage.ts"
import type { OpenWeights } from "../models/files/open-weights.ts"
import {
  adapterParameters,
  type DecoderShape,
  decoderParameters,
  elementCount,
  type LoraSpec,
  layerKinds,
  layerPrefix,
  layerTensor,
  type ModelConfig,
  weightCount,
} from "../models/index.ts"
import type { Device } from "../runtime/index.ts"
import { openDevice } from "../runtime/node.ts"
import { type Clock, type Estimate, estimateRun, type Stopwatch, wallClock } from "./estimate.ts"
import { adapterSpec } from "./model-settings.ts"
import { adapterWeights, baseWeights, frozenWeights } from "./model-weights.ts"
import type { RunPlan } from "./plan.ts"
import { openTrainedModel } from "./trained-model.ts"

/** Models up to this are measured whole. */
const SMALL_MODEL = 20e6
/** Layers that stand for a model of one kind of layers, and for one of several. */
const LAYERS = 2
const MIXED_LAYERS = 6

/** Places of the layers that stand for all: from the first to the last, evenly. */
export function chosenLayers(shape: DecoderShape): number[] {
  const all = shape.numHiddenLayers
  const wanted = layerKinds(shape).length === 1 ? LAYERS : MIXED_LAYERS
  const count = weightCount(shape) <= SMALL_MODEL ? all : Math.min(all, wanted)
  if (count === 1) return [0]
  return Array.from({ length: count }, (_, i) => Math.round((i * (all - 1)) / (count - 1)))
}

function withLayers(model: ModelConfig, chosen: readonly number[]): ModelConfig {
  const layers = chosen.map((layer) => model.shape.layers[layer]!)
  return { ...model, shape: { ...model.shape, numHiddenLayers: layers.length, layers } }
}

function trainedCount(
  shape: DecoderShape,
  lora: LoraSpec | undefined,
  frozen: ReadonlySet<string> | undefined,
): number {
  const parameters = lora ? adapterParameters(shape, lora) : decoderParameters(shape)
  const trained = parameters.filter(({ name }) => !frozen?.has(name))
  return trained.reduce((sum, { shape }) => sum + elementCount(shape), 0)
}

/**
 * Of the tensors that do not train, those of the layers that stand for all, by their names there.
 */
function frozenOf(
  frozen: ReadonlySet<string> | undefined,
  chosen: readonly number[],
): ReadonlySet<string> | undefined {
  const names = [...(frozen ?? [])].flatMap((name) => {
    const at = layerTensor(name)
    if (!at) return [name]
    const place = chosen.indexOf(at.layer)
    return place < 0 ? [] : [layerPrefix(place) + at.name]
  })
  return frozen && new Set(names)
}

/** Small numbers without zeros; the same ones for every tensor. */
function filled(into: Float32Array): Float32Array {
  for (let i = 0; i < into.length; i++)
    into[i] = ((Math.imul(i, 2654435761) >>> 8) % 255) / 6400 - 0.02
  return into
}

/** Stands for the files of a model. */
function noWeights(config: ModelConfig): OpenWeights {
  const parameters = decoderParameters(config.shape)
  const sizes = new Map(parameters.map(({ name, shape }) => [name, elementCount(shape)]))
  return {
    config,
    parameters,
    dtype: "float32",
    read: async (name, into = new Float32Array(sizes.get(name)!)) => filled(into),
    readRows: async (_, _row, into) => void filled(into),
    close: async () => {},
  }
}

/** Graphs that are run once a layer. */
const OF_LAYERS = /^(block|prefill|decode|cache)/

/**
 * The device, with a watch that counts what graphs of layers take as often as the model has layers.
 */
function layerWatch(device: Device, clock: Clock, layers: number, signal?: AbortSignal) {
  let inLayers = 0
  const watched: Device = {
    ...plain(device),
    async compile(graph, options) {
      const executable = await device.compile(graph, options)
      if (!OF_LAYERS.test(graph.name)) return executable
      return {
        graph: executable.graph,
        release: () => executable.release(),
        async run(feeds, options) {
          const began = clock()
          const results = await executable.run(feeds, options)
          inLayers += clock() - began
          return results
        },
      }
    },
  }
  const seconds: Stopwatch = async (work) => {
    signal?.throwIfAborted()
    const before = inLayers
    const began = clock()
    await work()
    return clock() - began + (layers - 1) * (inLayers - before)
  }
  return { watched, seconds }
}

/** A device's parts as they can be put together anew. */
function plain(device: Device): Device {
  return {
    sharesHostMemory: device.sharesHostMemory,
    limits: device.limits,
    products: device.products,
    ...(device.updates ? { updates: device.updates } : {}),
    description: device.description,
    compile: (graph, options) => device.compile(graph, options),
    upload: (host) => device.upload(host),
    uploadFactor: (host) => device.uploadFactor(host),
    download: (tensor) => device.download(tensor),
    release: () => device.release(),
  }
}

export interface MiniatureOptions {
  readonly signal?: AbortSignal
  readonly clock?: Clock
}

/**
 * Trains a few layers, the embedding and the head on the plan's own rows, and counts the layers as
 * often as the model has them. Reading the weights is not in it.
 */
export async function miniatureEstimate(
  plan: RunPlan,
  { signal, clock = wallClock }: MiniatureOptions = {},
): Promise<Estimate> {
  const { config, objective, quantization, engine, memory } = plan
  const chosen = chosenLayers(plan.model.shape)
  const model = withLayers(plan.model, chosen)
  const { shape } = model
  const lora =
    config.adapter && plan.lora
      ? adapterSpec({ ...config.adapter, layers_to_transform: null }, model, config.model_tokens)
      : undefined
  const device = await openDevice(engine)
  const times = plan.model.shape.numHiddenLayers / shape.numHiddenLayers
  const { watched, seconds } = layerWatch(device, clock, times, signal)
  const options = signal ? { signal } : {}
  const ways = { device, quantization, lora }
  const frozen = frozenOf(plan.frozen, chosen)
  const base = lora
    ? await frozenWeights(noWeights(model), ways, { ...options, whole: lora.saved.tensors })
    : await baseWeights(noWeights(model), undefined, options)
  const trained = await openTrainedModel({
    ...{ device: watched, config, shape, objective, lora, quantization },
    ...{ frozen, keep: (layer) => memory.keep(chosen[layer]!) },
    weights: new Map([...base, ...adapterWeights(shape, lora, config.seed)]),
    frozenWeights: () => frozenWeights(noWeights(model), ways, options),
  })
  try {
    const all = trainedCount(plan.model.shape, plan.lora, plan.frozen)
    const ratio = all / trainedCount(shape, lora, frozen)
    const miniature = { seconds, trained: ratio }
    return await estimateRun(plan, trained, { load: 0, clock, miniature })
  } finally {
    await trained.release()
    await device.release()
    collectGarbage()
  }
}
