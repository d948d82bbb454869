import { InputError } from "../../errors.ts"
import type { TensorReader } from "../../formats/safetensors.ts"
import { decoderName } from "../adapters/lora.ts"
import { decoderParameters, EMBEDDING, HEAD } from "../block/parameters.ts"
import type { ModelConfig } from "../families/model-config.ts"
import type { DecoderShape } from "../families/shape.ts"
import { isSameMatrix, type OpenWeights } from "./open-weights.ts"

/**
 * The shape of a base as an adapter's file makes it: with rows for more tokens, and with a head of
 * its own where the file holds another one than the embedding.
 *
 * @throws InputError where it has fewer rows than the base
 */
export async function adaptedShape(
  reader: TensorReader,
  base: DecoderShape,
  where: string,
): Promise<DecoderShape> {
  const stored = new Map([...reader.tensors.keys()].map((name) => [decoderName(name), name]))
  const [embedding, head] = [stored.get(EMBEDDING), stored.get(HEAD)]
  const one = embedding ?? head
  if (one === undefined) return base
  const vocabSize = reader.tensors.get(one)!.shape[0] ?? 0
  if (vocabSize < base.vocabSize) {
    throw new InputError(
      `${where}: holds ${vocabSize} rows of the embedding, the base has ${base.vocabSize}; it belongs to another base`,
    )
  }
  const parts = embedding === undefined || head === undefined
  const unties = base.tieWordEmbeddings && (parts || !(await isSameMatrix(reader, embedding, head)))
  return { ...base, vocabSize, tieWordEmbeddings: base.tieWordEmbeddings && !unties }
}

/** A config whose shape has become this one. */
export function adaptedConfig(config: ModelConfig, shape: DecoderShape): ModelConfig {
  const { vocabSize: vocab_size, tieWordEmbeddings: tie_word_embeddings } = shape
  const before = config.shape
  if (vocab_size === before.vocabSize && tie_word_embeddings === before.tieWordEmbeddings) {
    return config
  }
  return { ...config, shape, json: { ...config.json, vocab_size, tie_word_embeddings } }
}

/** The base's weights in that shape; rows that it does not have are zeros. */
export function adaptedBase(open: OpenWeights, shape: DecoderShape): OpenWeights {
  const config = adaptedConfig(open.config, shape)
  if (config === open.config) return open
  const stored = (name: string) =>
    name === HEAD && open.config.shape.tieWordEmbeddings ? EMBEDDING : name
  return {
    ...open,
    config,
    parameters: decoderParameters(shape),
    async read(name, into) {
      if (name !== EMBEDDING && name !== HEAD) return open.read(name, into)
      const rows = into ?? new Float32Array(shape.vocabSize * shape.hiddenSize)
      const known = open.config.shape.vocabSize * shape.hiddenSize
      await open.read(stored(name), rows.subarray(0, known))
      rows.fill(0, known)
      return rows
    },
    async readRows(name, row, into) {
      if (name !== EMBEDDING && name !== HEAD) return open.readRows(name, row, into)
      const known = Math.max(0, open.config.shape.vocabSize - row) * shape.hiddenSize
      if (known > 0) await open.readRows(stored(name), row, into.subarray(0, known))
      into.fill(0, known)
    },
  }
}
