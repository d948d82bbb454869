import type { DecoderShape, LayerKind, LinearLayer, Parameter } from "../families/shape.ts"
import { familyOf } from "../families/table.ts"

/** The tensors outside the blocks, by the checkpoint's names. */
export const EMBEDDING = "model.embed_tokens.weight"
export const FINAL_NORM = "model.norm.weight"
export const HEAD = "lm_head.weight"
/** Of a reward model, in place of the head. */
export const SCORE = "score.weight"
/** Of a critic on the policy's trunk: no part of a model's files. */
export const VALUE_HEAD = "value_head.weight"

/** `model.layers.N.`: what stands before a block's own tensor names. */
export const layerPrefix = (layer: number): string => `model.layers.${layer}.`

/** The layer that a tensor belongs to, and its name below it; undefined outside the blocks. */
export function layerTensor(name: string): { layer: number; name: string } | undefined {
  const [, layer, below] = /^model\.layers\.(\d+)\.(.+)$/.exec(name) ?? []
  return layer === undefined ? undefined : { layer: Number(layer), name: below! }
}

/** The tensor that the head multiplies with. */
export const headName = ({ tieWordEmbeddings, scores }: DecoderShape): string =>
  scores ? SCORE : tieWordEmbeddings ? EMBEDDING : HEAD

/** The different kinds of a decoder's layers, each once. */
export function layerKinds({ layers }: DecoderShape): LayerKind[] {
  return [...new Map(layers.map((kind) => [kind.name, kind])).values()]
}

/** The linear layers of a block of this kind by their paths, in the checkpoint's order. */
export function linearLayers(
  shape: DecoderShape,
  kind: LayerKind,
): ReadonlyMap<string, LinearLayer> {
  const linears = familyOf(shape)
    .parameters(shape, kind)
    .filter((each) => "module" in each)
  return new Map(linears.map((linear) => [linear.module, linear]))
}

/** The linear layers of a decoder's blocks by their paths, each once, in the checkpoint's order. */
export function linearModules(shape: DecoderShape): ReadonlyMap<string, LinearLayer> {
  return new Map(layerKinds(shape).flatMap((kind) => [...linearLayers(shape, kind)]))
}

/** The tensors of one block, named below its prefix (`self_attn.q_proj.weight`). */
export function blockParameters(shape: DecoderShape, kind: LayerKind): Parameter[] {
  return familyOf(shape)
    .parameters(shape, kind)
    .flatMap((each): Parameter[] => {
      if (!("module" in each)) return [each]
      const { module, outFeatures, inFeatures, bias } = each
      const weight = { name: `${module}.weight`, shape: [outFeatures, inFeatures] }
      return bias ? [weight, { name: `${module}.bias`, shape: [outFeatures] }] : [weight]
    })
}

/** All tensors of the checkpoint, a tied head not repeated. */
export function decoderParameters(shape: DecoderShape): Parameter[] {
  const { vocabSize, hiddenSize, tieWordEmbeddings, layers, scores } = shape
  const blocks = layers.map((kind, layer) =>
    blockParameters(shape, kind).map(({ name, shape }) => ({
      name: layerPrefix(layer) + name,
      shape,
    })),
  )
  const head: Parameter[] = scores
    ? [{ name: SCORE, shape: [1, hiddenSize] }]
    : tieWordEmbeddings
      ? []
      : [{ name: HEAD, shape: [vocabSize, hiddenSize] }]
  return [
    { name: EMBEDDING, shape: [vocabSize, hiddenSize] },
    ...blocks.flat(),
    { name: FINAL_NORM, shape: [hiddenSize] },
    ...head,
  ]
}

/** The weights of the blocks' linear layers, by the checkpoint's names: what can be quantised. */
export function linearWeights(shape: DecoderShape): Set<string> {
  return new Set(
    shape.layers.flatMap((kind, layer) =>
      [...linearLayers(shape, kind).keys()].map(
        (module) => `${layerPrefix(layer)}${module}.weight`,
      ),
    ),
  )
}

export function elementCount(shape: readonly number[]): number {
  return shape.reduce((count, size) => count * size, 1)
}

/** Number of weights, a tied head counted once. */
export function parameterCount(shape: DecoderShape): number {
  return decoderParameters(shape).reduce((sum, { shape }) => sum + elementCount(shape), 0)
}

/** Numbers in a model's weights, a tied head counted once. */
export function weightCount(shape: DecoderShape): number {
  return decoderParameters(shape).reduce((sum, { shape: dims }) => sum + elementCount(dims), 0)
}
