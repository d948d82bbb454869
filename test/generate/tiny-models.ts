import { readFileSync } from "node:fs"
import { doraTensors } from "../../src/models/adapters/dora.ts"
import type { CachedModel } from "../../src/models/decoding/decoding-stages.ts"
import { PackedModel } from "../../src/models/decoding/packed-model.ts"
import { loadModel, readAdapter } from "../../src/models/files/index.ts"
import {
  adapterParameters,
  decoderName,
  decoderParameters,
  EMBEDDING,
  heldName,
  loraInputs,
} from "../../src/models/index.ts"
import { type Device, type DeviceTensor, float32 } from "../../src/runtime/index.ts"
import type { Tokenizer } from "../../src/text/index.ts"
import { families, MODELS } from "../models/golden-models.ts"

export { families, MODELS }

export interface Greedy {
  readonly prompt: number[]
  readonly token_ids: number[]
}

export interface Golden {
  readonly sequences: readonly { readonly token_ids: number[] }[]
  readonly greedy: readonly Greedy[]
  readonly adapters?: Readonly<Record<string, { readonly greedy: Greedy }>>
}

export function golden(family: string): Golden {
  return JSON.parse(readFileSync(`${MODELS}${family}/golden.json`, "utf8")) as Golden
}

/** A golden model on a device, with one of its adapters or none. */
export async function tinyModel(
  device: Device,
  family: string,
  adapter?: string,
): Promise<CachedModel> {
  const { config, weights } = await loadModel(`${MODELS}${family}`)
  const read =
    adapter === undefined
      ? undefined
      : await readAdapter(`${MODELS}${family}/${adapter}`, config.shape)
  const { shape } = read ?? config
  const tensors = new Map<string, DeviceTensor>()
  for (const { name, shape: dims } of decoderParameters(shape)) {
    tensors.set(name, await device.upload(float32(dims, weights.get(name)!)))
  }
  if (read === undefined) return { device, shape, weights: tensors }
  for (const { name, shape: dims } of adapterParameters(shape, read.spec)) {
    const own = heldName(decoderName(name), shape)
    tensors.set(own, await device.upload(float32(dims, read.tensors.get(name)!)))
  }
  const lora = loraInputs(read.spec)
  for (const [name, made] of doraTensors({ shape, lora, weights: tensors })) {
    tensors.set(name, await device.upload(made))
  }
  return { device, shape, weights: tensors, lora }
}

/** The same model with its weights compiled into its graphs. */
export function packed(model: CachedModel): Promise<PackedModel> {
  const weight = (name: string) => model.weights.get(name)!.data as Float32Array
  return PackedModel.pack({
    ...model,
    weight: (name, into) => {
      into.set(weight(name))
      return into
    },
    embeddingRow: (id, into) =>
      into.set(weight(EMBEDDING).subarray(id * into.length, (id + 1) * into.length)),
  })
}

/** The two ways to hold weights. */
export const HOLDINGS = {
  fed: (model: CachedModel) => Promise.resolve(model),
  packed,
} as const
export const holdings = Object.keys(HOLDINGS) as (keyof typeof HOLDINGS)[]

const LETTERS = "\u0002 abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,"

/** One character per id: enough of a tokenizer for models without one. Id 0 is nothing special. */
export const letters: Tokenizer = {
  vocabSize: 64,
  bosTokenId: null,
  eosTokenId: null,
  padTokenId: null,
  addsBos: false,
  specialTokenIds: new Set(),
  addedTokens: new Map(),
  encode: (text) => [...text].map((letter) => LETTERS.indexOf(letter)),
  encodeWithOffsets: (text) => ({
    ids: letters.encode(text),
    starts: [...text].map((_, i) => i),
    ends: [...text].map((_, i) => i + 1),
  }),
  decode: (ids) => ids.map((id) => LETTERS[id]).join(""),
  decodeStream: () => ({ push: (id) => LETTERS[id]!, end: () => "" }),
  tokenText: (id) => LETTERS[id]!,
}

/** The text whose ids are these. */
export const spelled = (ids: readonly number[]) => letters.decode(ids)
