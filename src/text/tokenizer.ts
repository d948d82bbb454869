import { Tokenizer as LibraryTokenizer } from "@huggingface/tokenizers"
import { assert, InputError } from "../errors.ts"
import type { Folder } from "../formats/folder.ts"
import { isObject, type JsonObject } from "../formats/json.ts"
import { idOf, sectionEncoder } from "./encoder.ts"
import { type DecodeStream, decoderOf } from "./token-decoder.ts"
import { namedToken, readTokenizerFiles, type TokenizerFiles } from "./tokenizer-files.ts"
import type { Places } from "./words.ts"

export type { DecodeStream } from "./token-decoder.ts"

export interface Tokenizer {
  /** One more than the largest id. */
  readonly vocabSize: number
  readonly bosTokenId: number | null
  readonly eosTokenId: number | null
  readonly padTokenId: number | null
  /** Whether `encode` with `addSpecialTokens` begins with the BOS token. */
  readonly addsBos: boolean
  /** Ids of the tokens that tokenizer.json marks as special. */
  readonly specialTokenIds: ReadonlySet<number>
  /** Texts of the added tokens (special or not) by id. */
  readonly addedTokens: ReadonlyMap<number, string>
  /** Special-token texts inside `text` become their tokens, as in Transformers. */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): number[]
  /**
   * Ids without special tokens added, and for each the range of `text` it stems from, in UTF-16
   * units. Ranges never go back; tokens that hold parts of one character share its range, and a
   * token that stands for nothing (a prefix space that was put in) has an empty one.
   *
   * @throws InputError when the tokenizer's kind of normalisation cannot be followed.
   */
  encodeWithOffsets(text: string): TextEncoding
  /** Exactly what the tokens say: spaces before punctuation are not cleaned up. */
  decode(ids: readonly number[], options?: { readonly skipSpecialTokens?: boolean }): string
  /** Decodes id by id, holding back the bytes of a character until it is whole. */
  decodeStream(options?: { readonly skipSpecialTokens?: boolean }): DecodeStream
  /**
   * The piece of one id as text, for previews; bytes that are no character alone show as `<0xF0>`.
   */
  tokenText(id: number): string
}

export interface TextEncoding extends Places {
  readonly ids: number[]
}

/**
 * The library's `Digits` knows 0 to 9 alone; the Rust one, which made the vocabularies, every
 * \p{N}.
 */
function withAllDigits(config: unknown): unknown {
  if (!isObject(config)) return config
  if (config.type === "Sequence" && Array.isArray(config.pretokenizers)) {
    return { ...config, pretokenizers: config.pretokenizers.map(withAllDigits) }
  }
  if (config.type !== "Digits") return config
  const Regex = config.individual_digits === true ? "\\p{N}" : "\\p{N}+"
  return { type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false }
}

const build = (files: TokenizerFiles): LibraryTokenizer =>
  new LibraryTokenizer(
    {
      normalizer: null,
      post_processor: null,
      decoder: null,
      ...files.tokenizer,
      pre_tokenizer: withAllDigits(files.tokenizer.pre_tokenizer ?? null),
      added_tokens: files.tokenizer.added_tokens ?? [],
    },
    files.config,
  )

/**
 * Whether tokenizer_config.json overrides what tokenizer.json adds, as Llama's tokenizer class
 * does.
 */
function configuredBos(config: JsonObject): boolean | null {
  const llama = /^(Code)?LlamaTokenizer(Fast)?$/.test(String(config.tokenizer_class))
  return llama && typeof config.add_bos_token === "boolean" ? config.add_bos_token : null
}

/**
 * Loads `tokenizer.json` (and `tokenizer_config.json`, when there is one) of a model folder.
 *
 * @throws InputError naming the file, for anything missing, damaged or unsupported.
 */
export async function tokenizerIn(folder: Folder): Promise<Tokenizer> {
  const files = await readTokenizerFiles(folder)
  const tokenizer = readable(files, () => assembled(files))
  for (const text of TRIED) {
    readable(files, () => {
      const ids = idsIfAny(() => tokenizer.encode(text, { addSpecialTokens: true }))
      tokenizer.decode(ids)
      for (const id of ids) tokenizer.tokenText(id)
    })
  }
  return tokenizer
}

/**
 * The library believes what tokenizer.json says of its parts until a text comes that needs them.
 */
const TRIED = ["a B 12 é\n", "  "]

/** A vocabulary may lack what is tried; that is refused when a row has it. */
function idsIfAny(encode: () => number[]): number[] {
  try {
    return encode()
  } catch (error) {
    if (error instanceof InputError) return []
    throw error
  }
}

function readable<T>({ path, tokenizer: { model } }: TokenizerFiles, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (error instanceof InputError) throw error
    const kind = isObject(model) ? ` of type ${JSON.stringify(model.type)}` : ""
    throw new InputError(
      `${path}: this kind of tokenizer${kind} cannot be read: ${(error as Error).message}`,
    )
  }
}

function assembled(files: TokenizerFiles): Tokenizer {
  const { path, config, addedTokens } = files
  const library = build(files)
  const { model } = library
  assert(model !== null, "the library built no model")
  const { encode, byteLevel } = sectionEncoder(library, files)

  const special = (() => {
    const MIDDLE = "\u0000"
    const all = library.post_processor?.post_process([MIDDLE], null, true).tokens ?? [MIDDLE]
    const middle = all.indexOf(MIDDLE)
    const ids = (pieces: string[]): number[] => pieces.map((piece) => idOf(library, piece, path))
    return { before: ids(all.slice(0, middle)), after: ids(all.slice(middle + 1)) }
  })()

  const tokenId = (key: string): number | null => {
    const content = namedToken(config[key])
    return content === null ? null : (library.token_to_id(content) ?? null)
  }
  const bosTokenId = tokenId("bos_token")
  const wantsBos = configuredBos(config)
  if (wantsBos !== null && bosTokenId !== null) {
    const has = special.before[0] === bosTokenId
    if (wantsBos && !has) special.before.unshift(bosTokenId)
    if (!wantsBos && has) special.before.shift()
  }

  const added = new Map(addedTokens.map(({ id, content }) => [id, content]))
  const specialTokenIds = new Set(addedTokens.filter((token) => token.special).map(({ id }) => id))
  const vocabSize = Math.max(model.vocab.length, ...addedTokens.map(({ id }) => id + 1))
  const decoder = decoderOf({
    library,
    config: files.tokenizer.decoder,
    byteLevel,
    added,
    specialTokenIds,
  })

  return {
    vocabSize,
    bosTokenId,
    eosTokenId: tokenId("eos_token"),
    padTokenId: tokenId("pad_token"),
    addsBos: bosTokenId !== null && special.before[0] === bosTokenId,
    specialTokenIds,
    addedTokens: added,
    encode(text, { addSpecialTokens = false } = {}) {
      const ids: number[] = addSpecialTokens ? [...special.before] : []
      encode(text, ids, null)
      if (addSpecialTokens) ids.push(...special.after)
      return ids
    },
    encodeWithOffsets(text) {
      const encoding = { ids: [], starts: [], ends: [] }
      encode(text, encoding.ids, encoding)
      return encoding
    },
    ...decoder,
  }
}
