import { createHash } from "node:crypto"
import { existsSync } from "node:fs"
import { join, resolve } from "node:path"
import { InputError } from "../../errors.ts"
import { objectIn, requiredObjectIn } from "../../formats/folder.ts"
import {
  diskFolder,
  fileHash,
  isObject,
  type JsonObject,
  writeFileAtomic,
} from "../../formats/index.ts"
import { type NewToken, withNewTokens } from "../../text/added-tokens.ts"
import { EMBEDDING, HEAD } from "../block/parameters.ts"
import type { ModelConfig } from "../families/model-config.ts"
import { madeFolder, pointerOf } from "./made-folder.ts"
import type { OpenWeights } from "./open-weights.ts"
import { copySideFiles } from "./save.ts"

/** In the folder that stands for a model with more tokens: which model, and which tokens. */
const KIND = { under: "tokens", pointer: "added-tokens.json" } as const
/** Of what is written beside it; raised when that would come out otherwise. */
const LAYOUT = 2

export interface AddedTokens {
  /** The folder of the model that they were added to. */
  readonly base: string
  readonly ids: readonly number[]
}

/** What a folder stands for; undefined: it is a model of its own. */
export function addedTokensOf(folder: string): AddedTokens | undefined {
  const says = pointerOf(folder, KIND)
  if (says === undefined) return undefined
  const { base, ids } = says
  if (typeof base === "string" && Array.isArray(ids) && ids.every(Number.isSafeInteger)) {
    return { base, ids: ids as number[] }
  }
  throw new InputError(`${join(folder, KIND.pointer)}: expected "base", a folder, and "ids"`)
}

/**
 * A folder with the model's config and tokenizer and these tokens in both; its weights stay where
 * they are. Rows of the embedding and the head are added where the model has too few.
 *
 * @throws InputError for a token that the model has
 */
export async function modelWithTokens(
  base: string,
  tokens: readonly NewToken[],
  onNotice?: (message: string) => void,
): Promise<string> {
  const files = ["tokenizer.json", "tokenizer_config.json", "config.json"]
  const hashes = files
    .map((name) => join(base, name))
    .map((path) => existsSync(path) && fileHash(path))
  const made = JSON.stringify([LAYOUT, resolve(base), tokens, await Promise.all(hashes)])
  const key = createHash("sha256").update(made).digest("hex")
  const make = (folder: string) => writeWithTokens(folder, base, tokens)
  return madeFolder({ ...KIND, key, make, onNotice })
}

async function writeWithTokens(folder: string, base: string, tokens: readonly NewToken[]) {
  const source = diskFolder(base)
  const texts = {
    tokenizer: await requiredObjectIn(source, "tokenizer.json", MAX_TOKENIZER_BYTES),
    config: await objectIn(source, "tokenizer_config.json"),
  }
  const { ids, tokenizer, config } = withNewTokens(texts, tokens, base)
  await copySideFiles(base, folder)
  const write = (name: string, json: unknown) =>
    writeFileAtomic(join(folder, name), `${JSON.stringify(json, null, 2)}\n`)
  await write("tokenizer.json", tokenizer)
  if (config !== undefined) await write("tokenizer_config.json", config)
  const model = await requiredObjectIn(source, "config.json")
  await write("config.json", withVocabulary(model, Math.max(...ids) + 1))
  return { base: resolve(base), ids }
}

const MAX_TOKENIZER_BYTES = 256e6

/** A config with at least this many rows, where it says how many. */
function withVocabulary(config: JsonObject, rows: number): JsonObject {
  const { vocab_size: size, text_config: text } = config
  if (typeof size === "number") return { ...config, vocab_size: Math.max(size, rows) }
  return isObject(text) ? { ...config, text_config: withVocabulary(text, rows) } : config
}

/**
 * The weights of such a folder: the model's own, and for each new token the mean of its tokens'
 * rows.
 */
export function openExtended(
  config: ModelConfig,
  { ids }: AddedTokens,
  open: OpenWeights,
): OpenWeights {
  // A head that the checkpoint holds against its config counts here as it does there.
  const { tieWordEmbeddings } = open.config.shape
  const shape = { ...config.shape, tieWordEmbeddings }
  const json = { ...config.json, tie_word_embeddings: tieWordEmbeddings }
  const C = shape.hiddenSize
  const means = new Map<string, Promise<Float32Array>>()
  const meanOf = (name: string): Promise<Float32Array> => {
    const known = means.get(name) ?? meanRow(open, name, Math.min(...ids))
    means.set(name, known)
    return known
  }
  return {
    ...open,
    config: { ...config, shape, json },
    parameters: open.parameters.map((parameter) =>
      parameter.name === EMBEDDING || parameter.name === HEAD
        ? { ...parameter, shape: [shape.vocabSize, C] }
        : parameter,
    ),
    async read(name, into) {
      if (name !== EMBEDDING && name !== HEAD) return open.read(name, into)
      const rows = into ?? new Float32Array(shape.vocabSize * C)
      await open.read(name, rows.subarray(0, open.config.shape.vocabSize * C))
      rows.fill(0, open.config.shape.vocabSize * C)
      for (const id of ids) rows.set(await meanOf(name), id * C)
      return rows
    },
    async readRows(name, row, into) {
      if (name !== EMBEDDING && name !== HEAD) return open.readRows(name, row, into)
      const known = Math.max(0, open.config.shape.vocabSize - row) * C
      if (known > 0) await open.readRows(name, row, into.subarray(0, known))
      into.fill(0, known)
      const asked = ids.filter((id) => id >= row && (id - row) * C < into.length)
      for (const id of asked) into.set(await meanOf(name), (id - row) * C)
    },
  }
}

/** The mean of the first rows of a matrix, summed in float64. */
async function meanRow(open: OpenWeights, name: string, rows: number): Promise<Float32Array> {
  const C = open.config.shape.hiddenSize
  const count = Math.min(rows, open.config.shape.vocabSize)
  const [row, sum] = [new Float32Array(C), new Float64Array(C)]
  for (let r = 0; r < count; r++) {
    await open.readRows(name, r, row)
    for (let c = 0; c < C; c++) sum[c]! += row[c]!
  }
  return Float32Array.from(sum, (x) => x / count)
}
