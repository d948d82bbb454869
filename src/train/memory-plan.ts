import type { KeepLevel } from "../graph/index.ts"
import type { LoraInputs } from "../models/block.ts"
import { type DecoderShape, decoderParameters, elementCount } from "../models/index.ts"
import { adapterShapes, blockGraphs } from "../models/stages.ts"

const BYTES = 4 // float32

export interface MemoryPlanOptions {
  readonly shape: DecoderShape
  readonly lora?: LoraInputs | undefined
  /** Tokens in a micro-batch. */
  readonly tokens: number
  readonly recompute: "auto" | "always" | "never"
  /** What the run may use in all. */
  readonly bytes: number
  /** Rows of the head's chunk. */
  readonly headRows: number
  /** Bytes of the frozen weights when they are not float32. */
  readonly frozenBytes?: number
  /** A second copy of the model for objectives with a reference. */
  readonly reference?: boolean
}

/** Where a run's memory goes, in bytes, and what each layer keeps for its backward. */
export interface MemoryPlan {
  readonly weights: number
  readonly gradients: number
  readonly moments: number
  readonly activations: number
  readonly head: number
  readonly total: number
  readonly keptLayers: number
  readonly keep: (layer: number) => KeepLevel
}

/** Bytes that one layer's saved values take at a level, without attention's probabilities. */
function savedBytes(options: MemoryPlanOptions, level: KeepLevel): number {
  const { forward } = blockGraphs(options, level)
  let bytes = 0
  for (const { shape } of forward.outputs) {
    if (shape.every((dim) => typeof dim === "number")) bytes += elementCount(shape) * BYTES
  }
  return bytes
}

/** Intermediates of one block's backward that live at once: about four of its widest arrays. */
function workspace({ shape, tokens }: MemoryPlanOptions): number {
  return 4 * tokens * shape.intermediateSize * BYTES
}

/**
 * Keeps activations in as many layers as fit and recomputes the rest. The estimate of the total is
 * what `probe` and the start of a run print.
 */
export function memoryPlan(options: MemoryPlanOptions): MemoryPlan {
  const { shape, lora, tokens, recompute, headRows } = options
  const layers = shape.numHiddenLayers
  const base = decoderParameters(shape).reduce((sum, { shape }) => sum + elementCount(shape), 0)
  const adapter =
    layers *
    [...adapterShapes({ shape, tokens, lora }).values()].reduce(
      (sum, dims) => sum + elementCount(dims),
      0,
    )
  const trained = lora ? adapter : base
  const copies = options.reference && !lora ? 2 : 1
  const weights = (options.frozenBytes ?? base * BYTES * copies) + adapter * BYTES
  const gradients = trained * BYTES
  const moments = 2 * trained * BYTES
  const head = (options.reference ? 5 : 3) * headRows * shape.vocabSize * BYTES
  const fixed = weights + gradients + moments + head + workspace(options)

  const state = tokens * shape.hiddenSize * BYTES
  const perLayer = savedBytes(options, "products")
  const room = options.bytes - fixed - (layers + 1) * state
  const kept =
    recompute === "always"
      ? 0
      : recompute === "never"
        ? layers
        : Math.max(0, Math.min(layers, Math.floor(room / perLayer)))
  const activations = kept * perLayer + (layers + 1) * state + workspace(options)
  const level: KeepLevel = recompute === "never" ? "keep" : "products"
  return {
    weights,
    gradients,
    moments,
    activations,
    head,
    total: weights + gradients + moments + head + activations,
    keptLayers: kept,
    // The last layers' backward comes first: what they keep is freed soonest.
    keep: (layer) => (layer >= layers - kept ? level : "recompute"),
  }
}
