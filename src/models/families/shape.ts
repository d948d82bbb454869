interface RopeBase {
  readonly ropeTheta: number
  /** Elements of a head that are turned, from the first on; even. */
  readonly rotaryDim: number
  /** Element 2i is paired with 2i + 1, not i with i + rotaryDim / 2. */
  readonly pairsNeighbours?: boolean
}

/** How positions become rotary frequencies (`rope.ts` computes them). */
export type Rope = RopeBase &
  (
    | { readonly ropeType: "default" }
    | { readonly ropeType: "linear"; readonly factor: number }
    | {
        readonly ropeType: "dynamic"
        readonly factor: number
        readonly maxPositionEmbeddings: number
      }
    | {
        readonly ropeType: "llama3"
        readonly factor: number
        readonly lowFreqFactor: number
        readonly highFreqFactor: number
        readonly originalMaxPositionEmbeddings: number
      }
    | {
        readonly ropeType: "yarn"
        readonly factor: number
        readonly originalMaxPositionEmbeddings: number
        /** Multiplies cos and sin. */
        readonly attentionFactor: number
        readonly betaFast: number
        readonly betaSlow: number
        /** The range of blended dimensions is widened to whole ones. */
        readonly truncate: boolean
      }
    | {
        readonly ropeType: "longrope"
        /**
         * [rotaryDim / 2]: what each frequency is divided by, up to the original length and past
         * it.
         */
        readonly shortFactor: readonly number[]
        readonly longFactor: readonly number[]
        readonly originalMaxPositionEmbeddings: number
        /** Multiplies cos and sin. */
        readonly attentionFactor: number
      }
  )

/** What makes layers of one decoder differ, the values of their weights left out. */
export interface LayerKind {
  /** Layers of the same name share their graphs. */
  readonly name: string
  /** undefined: positions turn nothing. */
  readonly rope: Rope | undefined
  /** A token sees itself and the `window - 1` before it; undefined: all before it. */
  readonly window?: number
}

/**
 * What every stage of a decoder must know of it. A family adds what only its own block asks for.
 * Sizes are in elements. H = numAttentionHeads, K = numKeyValueHeads, D = headDim, C = hiddenSize,
 * V = vocabSize, L = numHiddenLayers.
 */
export interface DecoderShape {
  /** The family, a key of `FAMILIES`. */
  readonly modelType: string
  readonly hiddenSize: number
  readonly intermediateSize: number
  readonly numHiddenLayers: number
  readonly numAttentionHeads: number
  /** Divides numAttentionHeads; query head h reads key-value head floor(h K / H). */
  readonly numKeyValueHeads: number
  /** Even; H * D need not be C. */
  readonly headDim: number
  readonly vocabSize: number
  /** Of the norms. */
  readonly rmsNormEps: number
  /** The head is the embedding; the checkpoint then has no tensor for it. */
  readonly tieWordEmbeddings: boolean
  readonly maxPositionEmbeddings: number
  /** [L] */
  readonly layers: readonly LayerKind[]
  /** A reward model: in place of the head one number a sequence, `score.weight` [1, C]. */
  readonly scores?: true
}

/** One tensor of a checkpoint, by the checkpoint's own name. Linear weights are [out, in]. */
export interface Parameter {
  readonly name: string
  readonly shape: readonly number[]
}

/** A linear layer of a block, by its path below the layer: y = W x + b. */
export interface LinearLayer {
  readonly module: string
  readonly outFeatures: number
  readonly inFeatures: number
  readonly bias: boolean
  /** One of many experts: adapters on `all-linear` leave it out, as PEFT does. */
  readonly isExpert?: boolean
}

/** A float32 tensor that can be read when its turn comes. */
export interface TensorSource {
  readonly name: string
  readonly shape: readonly number[]
  readonly read: () => Promise<Float32Array>
}
