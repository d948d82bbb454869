import type { Config } from "../config/index.ts"
import { type Graph, graph, type KeepLevel, tensorBytes, workspaceBytes } from "../graph/index.ts"
import { type BlockGraphs, blockGraphs } from "../models/block/block-graphs.ts"
import { type LayerPlan, layerPlans } from "../models/block/layer-plan.ts"
import { adapterShapes, ROUTED } from "../models/block/packed.ts"
import { blockWorkspace, narrowsKept } from "../models/decoder/compiled-blocks.ts"
import { headOutputs } from "../models/decoder/score-head.ts"
import {
  type DecoderShape,
  decoderParameters,
  elementCount,
  FINAL_NORM,
  type HeadSettings,
  headName,
  type LoraInputs,
  layerKinds,
  layerPrefix,
  linearLayers,
  type Parameter,
  quantizedModelBytes,
  type WeightQuantization,
} from "../models/index.ts"
import { BLOCK, isMuonMatrix, LEAST_ELEMENTS } from "../optim/index.ts"
import type { Precision } from "../runtime/index.ts"

const BYTES = 4 // float32
/** Ratio of the arena's size to what is in use of it: free pieces lie between. */
const ARENA_GAPS = 1.1

/**
 * What the runtime takes beside the arrays once it computes: its threads, compiled graphs, copies
 * that are soon let go. Measured on models of 1 to 135 million parameters (docs/log.md,
 * 2026-11-30).
 */
export const RUNTIME_BYTES = 48e6

/** Of a trained number. */
const MOMENT_BYTES = {
  ...{ adamw: 2 * BYTES, "adamw-8bit": 2 * (1 + BYTES / BLOCK), lion: BYTES },
  ...{ adafactor: BYTES, muon: BYTES },
}

/** Of the tensors that train, an adapter's among them. */
function momentBytes(optimizer: Config["optimizer"], parameters: readonly Parameter[]): number {
  const ofTensor = ({ name, shape }: Parameter) => {
    const [rows, columns] = shape
    const count = elementCount(shape)
    if (optimizer === "adafactor" && shape.length === 2) return BYTES * (rows! + columns!)
    const isSmall = optimizer === "adamw-8bit" && count < LEAST_ELEMENTS
    const isAdamW = isSmall || (optimizer === "muon" && !isMuonMatrix(name, shape))
    return count * MOMENT_BYTES[isAdamW ? "adamw" : optimizer]
  }
  return sum(parameters.map(ofTensor))
}

/** Copies of a matrix beside it while Adafactor or Muon updates it whole. */
const COPIES_OF_UPDATE = 3

/**
 * Of the largest matrix that is updated whole; other optimizers go in pieces that stay in cache.
 */
function updateBytes(optimizer: Config["optimizer"], parameters: readonly Parameter[]): number {
  const isWhole = ({ name, shape }: Parameter) =>
    optimizer === "adafactor" || (optimizer === "muon" && isMuonMatrix(name, shape))
  const sizes = parameters.filter(isWhole).map(({ shape }) => elementCount(shape))
  return COPIES_OF_UPDATE * BYTES * Math.max(0, ...sizes)
}

/** The tensors of an adapter that train. */
function adapterTensors({ shape, lora }: MemoryPlanOptions): Parameter[] {
  if (!lora) return []
  return layerPlans(shape, lora).flatMap(({ kind, lora }, layer) =>
    [...adapterShapes({ shape, kind, lora })].map(([name, dims]) => ({
      name: layerPrefix(layer) + name,
      shape: dims,
    })),
  )
}

export interface MemoryPlanOptions {
  readonly shape: DecoderShape
  readonly lora?: LoraInputs | undefined
  /** The reference is another model, which is in `beside`. */
  readonly referenceIsAnother?: boolean
  /** The adapter begins as something, so that a reference is a model of its own. */
  readonly startsChanged?: boolean
  /** Without an adapter: tensors that do not train. */
  readonly frozen?: ReadonlySet<string> | undefined
  readonly quantization?: WeightQuantization | undefined
  /** Tokens of the largest micro-batch. */
  readonly tokens: number
  readonly recompute: "auto" | "always" | "never"
  /** What the run may use in all. */
  readonly bytes: number
  /** Rows of the head's chunk. */
  readonly headRows: number
  /** What the objective computes there. */
  readonly headSettings: HeadSettings
  readonly optimizer?: Config["optimizer"]
  /** An average of the weights is kept beside them. */
  readonly averages?: boolean
  /** Of products: a frozen matrix is held as bfloat16 alone where they are, and kept values are. */
  readonly precision?: Precision
  /** Bytes of other models in memory: a teacher, the model as it was. */
  readonly beside?: number
  /** The routers' auxiliary loss is trained. */
  readonly routers?: boolean
  /** What the process holds before a weight is read. */
  readonly process: number
}

/** Where a run's memory goes, in bytes, and what each layer keeps for its backward. */
export interface MemoryPlan {
  /**
   * Of the policy, and of the models beside it: a frozen one that it is compared with, a teacher.
   */
  readonly weights: number
  readonly gradients: number
  /** Of the optimizer, and the average of the weights. */
  readonly moments: number
  /** Arrays between the blocks' graphs: each layer's input, what it keeps, gradients of both. */
  readonly activations: number
  /**
   * Inside the graph of a block, of the head or of an update, whichever has most: they share it.
   */
  readonly workspace: number
  readonly process: number
  readonly total: number
  readonly keptLayers: number
  readonly keep: (layer: number) => KeepLevel
}

/** Whether a tensor of the base trains. */
const isTrained = ({ lora, frozen }: MemoryPlanOptions, name: string): boolean =>
  lora === undefined ? frozen?.has(name) !== true : lora.whole?.has(name) === true

const sum = (values: Iterable<number>) => [...values].reduce((total, value) => total + value, 0)

/** Bytes of the results that are `own`, of fixed size: attention's probabilities are left out. */
function resultBytes({ outputs }: Graph, own: (name: string) => boolean): number {
  return sum(
    outputs
      .filter(({ name, shape }) => own(name) && shape.every((dim) => typeof dim === "number"))
      .map((port) => tensorBytes(port)),
  )
}

function headWorkspace(options: MemoryPlanOptions): number {
  const { shape, headSettings, headRows, tokens } = options
  const trained = {
    norm: isTrained(options, FINAL_NORM),
    head: isTrained(options, headName(shape)),
  }
  const outputs = headOutputs({ shape, ...headSettings }, trained)
  return workspaceBytes(graph("head", outputs), () => Math.min(headRows, tokens))
}

/**
 * Arrays that are no layer's own: the first one's input, the gradient that arrives and the two that
 * take turns, the rotary tables, the head's rows with their gradients, and which tokens are real
 * where routers are asked.
 */
function betweenBytes(options: MemoryPlanOptions): number {
  const { tokens, headRows, shape, precision, routers } = options
  // In bf16 a layer keeps its input rounded: two places in turn are what it is computed in.
  const states =
    (narrowsKept({ products: precision ?? "fp32" }) ? 6 : 4) * tokens * shape.hiddenSize
  const turned = layerKinds(shape).map(({ rope }) => rope?.rotaryDim ?? 0)
  const tables = tokens * sum(turned)
  const head =
    (isTrained(options, headName(shape)) ? 3 : 2) * Math.min(headRows, tokens) * shape.hiddenSize
  const real = routers ? tokens : 0
  return (states + tables + head + real) * BYTES + dropoutBytes(options)
}

/** The masks of the layer that has most, made anew for each. */
function dropoutBytes({ shape, lora, tokens }: MemoryPlanOptions): number {
  if (!lora?.dropout) return 0
  const masks = layerPlans(shape, lora).map(({ kind, lora }) => {
    const linears = linearLayers(shape, kind)
    const modules = [...(lora?.modules.keys() ?? [])]
    return tokens * BYTES * sum(modules.map((module) => linears.get(module)!.inFeatures))
  })
  return Math.max(...masks)
}

/** What a router says of its tokens is read and let go of while the layers are computed. */
const READ_AT_ONCE: ReadonlySet<string> = new Set([ROUTED.sent, ROUTED.sums])

/** What a layer's graphs hold, in bytes. */
interface LayerBytes {
  /** Its output, and what it leaves for its backward when that computes again. */
  readonly lean: number
  /** What it leaves in addition when it keeps. */
  readonly more: number
  /** Inside its graphs. */
  readonly workspace: number
}

function layerBytes(
  { shape, tokens, quantization, precision, routers = false }: MemoryPlanOptions,
  { kind, lora, frozen }: LayerPlan,
  level: KeepLevel,
): LayerBytes {
  const options = { shape, tokens, quantization, kind, lora, frozen }
  const narrows = narrowsKept({ products: precision ?? "fp32" })
  const kept = blockGraphs(options, level, { narrows, routers })
  const lean = blockGraphs(options, "recompute", { narrows, routers })
  const ownBytes = ({ forward, backward }: BlockGraphs) =>
    resultBytes(forward, (name) =>
      name === "y" ? backward.inputs.some(({ name }) => name === "x") : !READ_AT_ONCE.has(name),
    )
  const graphs = [kept, lean].flatMap(({ forward, backward }) => [forward, backward])
  return {
    lean: ownBytes(lean),
    more: ownBytes(kept) - ownBytes(lean),
    workspace: Math.max(...graphs.map((each) => blockWorkspace(each, tokens))),
  }
}

/** Of the base as an adapter or a reference reads it. */
export function frozenBytes({
  shape,
  quantization,
  precision = "fp32",
}: Pick<MemoryPlanOptions, "shape" | "quantization" | "precision">): number {
  const matrixBytes = precision === "bf16" ? 2 : BYTES
  if (quantization) return quantizedModelBytes(shape, quantization, matrixBytes)
  const bytes = decoderParameters(shape).map(
    ({ shape }) => elementCount(shape) * (shape.length === 2 ? matrixBytes : BYTES),
  )
  return sum(bytes)
}

/** How many layers, from the last on, can keep what their backward needs in `room` bytes. */
function fittingLayers(layers: readonly LayerBytes[], room: number): number {
  let left = room
  let count = 0
  for (const { more } of [...layers].reverse()) {
    if (more > left) break
    left -= more
    count++
  }
  return count
}

/**
 * Keeps activations in as many layers as fit and recomputes the rest. The total is what `probe`
 * and the start of a run print.
 */
export function memoryPlan(options: MemoryPlanOptions): MemoryPlan {
  const { shape, lora, recompute, headSettings } = options
  const level: KeepLevel = recompute === "never" ? "keep" : "products"
  const plans = layerPlans(shape, lora, options.frozen)
  const known = new Map(plans.map((plan) => [plan.key, plan]))
  const bytes = new Map([...known].map(([key, plan]) => [key, layerBytes(options, plan, level)]))
  const layers = plans.map(({ key }) => bytes.get(key)!)
  const count = layers.length
  const base = sum(decoderParameters(shape).map(({ shape }) => elementCount(shape)))
  const ofAdapter = adapterTensors(options)
  const adapter = sum(ofAdapter.map(({ shape }) => elementCount(shape)))
  const parameters = decoderParameters(shape).filter(({ name }) => isTrained(options, name))
  const whole = sum(parameters.map(({ shape }) => elementCount(shape)))
  const trained = adapter + whole
  const holdsStart =
    headSettings.reference && !options.referenceIsAnother && (whole > 0 || options.startsChanged)
  const copies = holdsStart ? 2 : 1
  const frozen = frozenBytes(options)
  const own = lora ? frozen + whole * BYTES : base * BYTES
  const weights = own + (copies - 1) * frozen + adapter * BYTES + (options.beside ?? 0)
  const gradients = trained * BYTES
  const { optimizer = "adamw" } = options
  const average = options.averages ? trained * BYTES : 0
  const moments = average + Math.ceil(momentBytes(optimizer, [...ofAdapter, ...parameters]))

  const inGraphs = Math.max(headWorkspace(options), ...layers.map((layer) => layer.workspace))
  const inUpdate = updateBytes(optimizer, [...ofAdapter, ...parameters])
  const workspace = Math.ceil(ARENA_GAPS * Math.max(inGraphs, inUpdate))
  const between = betweenBytes(options)
  const fixed = weights + gradients + moments + workspace + between + options.process
  const lean = sum(layers.map((layer) => layer.lean))
  const fitting = fittingLayers(layers, options.bytes - fixed - lean)
  const keptLayers = recompute === "always" ? 0 : recompute === "never" ? count : fitting
  const kept = layers.slice(count - keptLayers)
  const activations = between + lean + sum(kept.map(({ more }) => more))
  return {
    weights,
    gradients,
    moments,
    activations,
    workspace,
    process: options.process,
    total: fixed - between + activations,
    keptLayers,
    // The last layers' backward comes first: what they keep is freed soonest.
    keep: (layer) => (layer >= count - keptLayers ? level : "recompute"),
  }
}
