import type { DecoderShape, Parameter } from "../families/shape.ts"

/** The linear layers of a block by module path, in the checkpoint's order. */
export const LINEAR_MODULES = [
  "self_attn.q_proj",
  "self_attn.k_proj",
  "self_attn.v_proj",
  "self_attn.o_proj",
  "mlp.gate_proj",
  "mlp.up_proj",
  "mlp.down_proj",
] as const
export type LinearModule = (typeof LINEAR_MODULES)[number]

export interface LinearShape {
  readonly outFeatures: number
  readonly inFeatures: number
  readonly bias: boolean
}

/** The linear layers of every block of this decoder. */
export function linearShapes(shape: DecoderShape): Readonly<Record<LinearModule, LinearShape>> {
  const { hiddenSize, intermediateSize, attentionBias, attentionOutputBias, mlpBias } = shape
  const queries = shape.numAttentionHeads * shape.headDim
  const keys = shape.numKeyValueHeads * shape.headDim
  const linear = (outFeatures: number, inFeatures: number, bias: boolean): LinearShape => ({
    outFeatures,
    inFeatures,
    bias,
  })
  return {
    "self_attn.q_proj": linear(queries, hiddenSize, attentionBias),
    "self_attn.k_proj": linear(keys, hiddenSize, attentionBias),
    "self_attn.v_proj": linear(keys, hiddenSize, attentionBias),
    "self_attn.o_proj": linear(hiddenSize, queries, attentionOutputBias),
    "mlp.gate_proj": linear(intermediateSize, hiddenSize, mlpBias),
    "mlp.up_proj": linear(intermediateSize, hiddenSize, mlpBias),
    "mlp.down_proj": linear(hiddenSize, intermediateSize, mlpBias),
  }
}

/** The tensors of one block, named below its prefix (`self_attn.q_proj.weight`). */
export function blockParameters(shape: DecoderShape): Parameter[] {
  const { hiddenSize, headDim } = shape
  const linears = linearShapes(shape)
  const weights = LINEAR_MODULES.flatMap((module): Parameter[] => {
    const { outFeatures, inFeatures, bias } = linears[module]
    const weight = { name: `${module}.weight`, shape: [outFeatures, inFeatures] }
    return bias ? [weight, { name: `${module}.bias`, shape: [outFeatures] }] : [weight]
  })
  const qkNorm = ["self_attn.q_norm.weight", "self_attn.k_norm.weight"]
  return [
    { name: "input_layernorm.weight", shape: [hiddenSize] },
    ...weights,
    ...(shape.qkNorm ? qkNorm.map((name) => ({ name, shape: [headDim] })) : []),
    { name: "post_attention_layernorm.weight", shape: [hiddenSize] },
  ]
}

/** `model.layers.N.`: what stands before a block's own tensor names. */
export function layerPrefix(layer: number): string {
  return `model.layers.${layer}.`
}

/** All tensors of the checkpoint, a tied head not repeated. */
export function decoderParameters(shape: DecoderShape): Parameter[] {
  const { vocabSize, hiddenSize, numHiddenLayers, tieWordEmbeddings } = shape
  const block = blockParameters(shape)
  const layers = Array.from({ length: numHiddenLayers }, (_, layer) =>
    block.map(({ name, shape }) => ({ name: layerPrefix(layer) + name, shape })),
  )
  const head: Parameter[] = [{ name: "lm_head.weight", shape: [vocabSize, hiddenSize] }]
  return [
    { name: "model.embed_tokens.weight", shape: [vocabSize, hiddenSize] },
    ...layers.flat(),
    { name: "model.norm.weight", shape: [hiddenSize] },
    ...(tieWordEmbeddings ? [] : head),
  ]
}

export function elementCount(shape: readonly number[]): number {
  return shape.reduce((count, size) => count * size, 1)
}

/** Number of weights, a tied head counted once. */
export function parameterCount(shape: DecoderShape): number {
  return decoderParameters(shape).reduce((sum, { shape }) => sum + elementCount(shape), 0)
}
