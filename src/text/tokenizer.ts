import { Tokenizer as LibraryTokenizer } from "@huggingface/tokenizers"
import { isObject, type JsonObject } from "../formats/json.ts"
import { assert, InputError } from "../run/errors.ts"
import {
  type Aligned,
  alignedBytes,
  identity,
  normalizeAligned,
  prepend,
  replaceAll,
  sliceAligned,
} from "./alignment.ts"
import { placeBytePieces } from "./byte-places.ts"
import { type DecodeStream, decoderOf } from "./decoder.ts"
import { byteLevelBytes, fallbackByte } from "./pieces.ts"
import { type AddedToken, sectionSplitter } from "./sections.ts"
import { namedToken, readTokenizerFiles, type TokenizerFiles } from "./tokenizer-files.ts"
import { wordEncoder } from "./word-cache.ts"

export type { DecodeStream } from "./decoder.ts"

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
  /** The piece of one id as text, for previews; bytes that are no character alone show as `<0xF0>`. */
  tokenText(id: number): string
}

export interface TextEncoding {
  readonly ids: number[]
  readonly offsets: [number, number][]
}

/** An unknown stretch of text yields no `undefined` ids downstream. */
function idOf(library: LibraryTokenizer, piece: string, path: string): number {
  const model = library.model
  const id = model?.tokens_to_ids.get(piece) ?? model?.unk_token_id
  if (id !== undefined) return id
  throw new InputError(
    `${path}: the vocabulary has no token for ${JSON.stringify(piece)} and no unknown token`,
  )
}

/** The library's `Digits` knows 0 to 9 alone; the Rust one, which made the vocabularies, every \p{N}. */
function withAllDigits(config: unknown): unknown {
  if (!isObject(config)) return config
  if (config.type === "Sequence" && Array.isArray(config.pretokenizers)) {
    return { ...config, pretokenizers: config.pretokenizers.map(withAllDigits) }
  }
  if (config.type !== "Digits") return config
  const Regex = config.individual_digits === true ? "\\p{N}" : "\\p{N}+"
  return { type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false }
}

function build(files: TokenizerFiles): LibraryTokenizer {
  try {
    return new LibraryTokenizer(
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
  } catch (error) {
    throw new InputError(
      `${files.path}: this kind of tokenizer cannot be read: ${(error as Error).message}`,
    )
  }
}

/** What the pre-tokenizer puts into or changes in the text before it is cut, with alignment. */
function pretokenizeAligned(source: Aligned, config: unknown, first: boolean): Aligned {
  if (!isObject(config)) return source
  if (config.type === "Sequence" && Array.isArray(config.pretokenizers)) {
    return config.pretokenizers.reduce(
      (aligned: Aligned, step: unknown) => pretokenizeAligned(aligned, step, first),
      source,
    )
  }
  if (config.type === "ByteLevel" && config.add_prefix_space === true) {
    return source.text.startsWith(" ") ? source : prepend(source, " ")
  }
  if (config.type === "Metaspace") {
    const mark = typeof config.replacement === "string" ? config.replacement : "▁"
    const scheme = config.prepend_scheme ?? "always"
    const marked = replaceAll(source, " ", mark)
    const wants = scheme === "always" || (scheme === "first" && first)
    return wants && !marked.text.startsWith(mark) ? prepend(marked, mark) : marked
  }
  return source
}

function isByteLevel(config: unknown): boolean {
  if (!isObject(config)) return false
  if (config.type === "ByteLevel") return true
  const steps = config.pretokenizers ?? config.decoders
  return config.type === "Sequence" && Array.isArray(steps) && steps.some(isByteLevel)
}

/**
 * Lays pieces end to end over the bytes of the text they came from.
 *
 * @returns null when they do not fit exactly.
 */
function placePieces(
  pieces: readonly string[],
  source: Aligned,
  byteLevel: boolean,
): [number, number][] | null {
  const { bytes, start, end } = alignedBytes(source)
  const encoder = new TextEncoder()
  let at = 0
  const offsets: [number, number][] = []
  for (const piece of pieces) {
    const byte = byteLevel ? null : fallbackByte(piece)
    const isByte = byte !== null && bytes[at] === byte
    const surface = byteLevel
      ? byteLevelBytes(piece)
      : isByte
        ? Uint8Array.of(byte)
        : encoder.encode(piece)
    if (surface.length === 0 || at + surface.length > bytes.length) return null
    for (let i = 0; i < surface.length; i++) if (surface[i] !== bytes[at + i]) return null
    offsets.push([start[at]!, end[at + surface.length - 1]!])
    at += surface.length
  }
  return at === bytes.length ? offsets : null
}

/** Whether tokenizer_config.json overrides what tokenizer.json adds, as Llama's tokenizer class does. */
function configuredBos(config: JsonObject): boolean | null {
  const llama = /^(Code)?LlamaTokenizer(Fast)?$/.test(String(config.tokenizer_class))
  return llama && typeof config.add_bos_token === "boolean" ? config.add_bos_token : null
}

/**
 * Loads `tokenizer.json` (and `tokenizer_config.json`, when there is one) of a model folder.
 *
 * @throws InputError naming the file, for anything missing, damaged or unsupported.
 */
export async function loadTokenizer(folder: string): Promise<Tokenizer> {
  const files = await readTokenizerFiles(folder)
  const { path, config, addedTokens } = files
  const library = build(files)
  const { model } = library
  assert(model !== null, "the library built no model")
  const normalize = (text: string): string =>
    library.normalizer === null ? text : library.normalizer.normalize(text)

  const raw: [string, AddedToken][] = []
  const normalized: [string, AddedToken][] = []
  for (const token of addedTokens) {
    if (token.normalized && library.normalizer !== null)
      normalized.push([normalize(token.content), token])
    else raw.push([token.content, token])
  }
  const splitRaw = sectionSplitter(raw)
  const splitNormalized = sectionSplitter(normalized)
  const byteLevel =
    isByteLevel(files.tokenizer.pre_tokenizer) || isByteLevel(files.tokenizer.decoder)

  const piecesOf = (text: string, first: boolean): string[] => {
    const words =
      library.pre_tokenizer === null
        ? [text]
        : library.pre_tokenizer.pre_tokenize(text, { section_index: first ? 0 : 1 })
    return model._call(words)
  }

  const wordsOf = wordEncoder({
    preTokenizer: library.pre_tokenizer,
    config: files.tokenizer.pre_tokenizer,
    encodeWord: (word, laterStages) => {
      const parts = laterStages.reduce(
        (words, stage) => words.flatMap((part) => stage.pre_tokenize(part)),
        [word],
      )
      const pieces: string[] = model._call(parts)
      return { ids: pieces.map((piece) => idOf(library, piece, path)), pieces }
    },
  })

  /** Ids, and the pieces they stand for. */
  const encodePart = (text: string, first: boolean): [number[], () => string[]] => {
    if (wordsOf !== null) {
      const words = wordsOf(text)
      return [words.flatMap(({ ids }) => ids), () => words.flatMap(({ pieces }) => pieces)]
    }
    const pieces = piecesOf(text, first)
    return [pieces.map((piece) => idOf(library, piece, path)), () => pieces]
  }

  const encodeSections = (
    text: string,
    found: (
      ids: number[],
      pieces: (() => string[]) | null,
      source: () => Aligned,
      /** Where the pieces' own text begins in `text`, when nothing rewrote it. */
      plain?: { readonly text: string; readonly from: number },
    ) => void,
  ): void => {
    for (const section of splitRaw(text)) {
      const sectionText = text.slice(section.start, section.end)
      const sectionSource = (): Aligned => identity(sectionText, section.start)
      if (section.token !== null) {
        found([section.token.id], null, sectionSource)
        continue
      }
      const normalizedText = normalize(sectionText)
      let aligned: Aligned | undefined
      const source = (): Aligned => {
        aligned ??= normalizeAligned(sectionSource(), files.tokenizer.normalizer) ?? undefined
        if (aligned?.text === normalizedText) return aligned
        throw new InputError(
          `${path}: its normaliser cannot be followed, so tokens cannot be placed in the text`,
        )
      }
      for (const part of splitNormalized(normalizedText)) {
        const partSource = (): Aligned => sliceAligned(source(), part.start, part.end)
        if (part.token !== null) {
          found([part.token.id], null, partSource)
          continue
        }
        const first = section.start === 0 && part.start === 0
        const partText = normalizedText.slice(part.start, part.end)
        const [ids, pieces] = encodePart(partText, first)
        const isPlain = wordsOf !== null && normalizedText === sectionText
        found(
          ids,
          pieces,
          () => pretokenizeAligned(partSource(), files.tokenizer.pre_tokenizer, first),
          isPlain ? { text: partText, from: section.start + part.start } : undefined,
        )
      }
    }
  }

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
      encodeSections(text, (found) => {
        for (const id of found) ids.push(id)
      })
      if (addSpecialTokens) ids.push(...special.after)
      return ids
    },
    encodeWithOffsets(text) {
      const ids: number[] = []
      const offsets: [number, number][] = []
      encodeSections(text, (found, pieces, source, plain) => {
        const placed =
          pieces !== null && plain !== undefined
            ? placeBytePieces(pieces(), plain.text, plain.from)
            : pieces !== null
              ? placePieces(pieces(), source(), byteLevel)
              : [[source().start[0]!, source().end.at(-1)!] as [number, number]]
        if (placed === null) {
          throw new InputError(
            `${path}: its tokens do not add up to the text, so they cannot be placed in it`,
          )
        }
        for (const id of found) ids.push(id)
        for (const range of placed) offsets.push(range)
      })
      return { ids, offsets }
    },
    ...decoder,
  }
}
