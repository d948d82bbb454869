import { assert, InputError } from "../errors.ts"
import { isObject } from "../formats/json.ts"
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
import type { LibraryTokenizer } from "./library-tokenizer.ts"
import { byteLevelBytes, fallbackByte } from "./pieces.ts"
import { type AddedToken, sectionSplitter } from "./sections.ts"
import type { TokenizerFiles } from "./tokenizer-files.ts"
import { type EncodedWord, type Places, wordCutter, wordMemory } from "./words.ts"

/** An unknown stretch of text yields no `undefined` ids downstream. */
export function idOf(library: LibraryTokenizer, piece: string, path: string): number {
  const model = library.model
  const id = model?.tokens_to_ids.get(piece) ?? model?.unk_token_id
  if (id !== undefined) return id
  throw new InputError(
    `${path}: the vocabulary has no token for ${JSON.stringify(piece)} and no unknown token`,
  )
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
): Places | null {
  const { bytes, start, end } = alignedBytes(source)
  const encoder = new TextEncoder()
  let at = 0
  const places: Places = { starts: [], ends: [] }
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
    places.starts.push(start[at]!)
    places.ends.push(end[at + surface.length - 1]!)
    at += surface.length
  }
  return at === bytes.length ? places : null
}

/**
 * Tokenises text into `ids`, without special tokens added, and where asked places each id in it.
 */
export type EncodeInto = (text: string, ids: number[], places: Places | null) => void

interface Parts {
  readonly library: LibraryTokenizer
  readonly files: TokenizerFiles
  readonly byteLevel: boolean
}

const unplaced = ({ path }: TokenizerFiles) =>
  new InputError(`${path}: its tokens do not add up to the text, so they cannot be placed in it`)

/** `source` says where the text's characters come from, when it was rewritten. */
type EncodeWords = (
  text: string,
  ids: number[],
  places: Places | null,
  source: Aligned | number,
) => void

/** Word by word, each tokenised once; null where the words cannot be cut apart. */
function wordEncoder({ library, files, byteLevel }: Parts): EncodeWords | null {
  const { path, tokenizer: config } = files
  const cutter = wordCutter({ preTokenizer: library.pre_tokenizer, config })
  if (cutter === null) return null
  const encodeWord = wordMemory((word): EncodedWord => {
    const pieces: string[] = library.model!._call(cutter.parts(word))
    const places = cutter.byteLevel
      ? placeBytePieces(pieces, word)
      : placePieces(pieces, identity(word), byteLevel)
    return { ids: pieces.map((piece) => idOf(library, piece, path)), places }
  })
  return (text, ids, places, source) => {
    let at = 0
    for (const word of cutter.cut(text)) {
      const encoded = encodeWord(word)
      for (const id of encoded.ids) ids.push(id)
      if (places !== null) {
        if (encoded.places === null) throw unplaced(files)
        placeWord(encoded.places, at, source, places)
      }
      at += word.length
    }
    if (places !== null && at !== text.length) throw unplaced(files)
  }
}

/** What lies between added tokens of the normalised text, as a whole. */
function encodePart(
  { library, files, byteLevel }: Parts,
  part: { readonly text: string; readonly first: boolean; readonly source: () => Aligned },
  ids: number[],
  places: Places | null,
): void {
  const { text, first, source } = part
  const words =
    library.pre_tokenizer === null
      ? [text]
      : library.pre_tokenizer.pre_tokenize(text, { section_index: first ? 0 : 1 })
  const pieces: string[] = library.model!._call(words)
  for (const piece of pieces) ids.push(idOf(library, piece, files.path))
  if (places === null) return
  const aligned = pretokenizeAligned(source(), files.tokenizer.pre_tokenizer, first)
  const placed = placePieces(pieces, aligned, byteLevel)
  if (placed === null) throw unplaced(files)
  for (const start of placed.starts) places.starts.push(start)
  for (const end of placed.ends) places.ends.push(end)
}

/** Cuts a text at added tokens, and a normalised one at those that are looked for in such. */
function addedSplitters({ normalizer }: LibraryTokenizer, addedTokens: readonly AddedToken[]) {
  const raw: [string, AddedToken][] = []
  const normalized: [string, AddedToken][] = []
  for (const token of addedTokens) {
    if (token.normalized && normalizer !== null) {
      normalized.push([normalizer.normalize(token.content), token])
    } else raw.push([token.content, token])
  }
  return {
    splitRaw: sectionSplitter(raw),
    splitNormalized: normalized.length === 0 ? null : sectionSplitter(normalized),
  }
}

/**
 * Text to ids in the order of the Rust tokenizers: cut at added tokens, normalise, cut at the added
 * tokens that are looked for in normalised text, cut into words, tokenise.
 */
export function sectionEncoder(
  library: LibraryTokenizer,
  files: TokenizerFiles,
): { readonly encode: EncodeInto; readonly byteLevel: boolean } {
  const { path, addedTokens, tokenizer: config } = files
  assert(library.model !== null, "the library built no model")
  const normalize = (text: string): string =>
    library.normalizer === null ? text : library.normalizer.normalize(text)
  const { splitRaw, splitNormalized } = addedSplitters(library, addedTokens)
  const byteLevel = isByteLevel(config.pre_tokenizer) || isByteLevel(config.decoder)
  const parts = { library, files, byteLevel }
  const encodeWords = wordEncoder(parts)

  const encodeBetween = (
    text: string,
    from: number,
    ids: number[],
    places: Places | null,
  ): void => {
    const normalizedText = normalize(text)
    const unchanged = normalizedText === text
    if (unchanged && splitNormalized === null && encodeWords !== null) {
      encodeWords(text, ids, places, from)
      return
    }
    let aligned: Aligned | undefined
    const source = (): Aligned => {
      aligned ??= normalizeAligned(identity(text, from), config.normalizer) ?? undefined
      if (aligned?.text === normalizedText) return aligned
      throw new InputError(
        `${path}: its normaliser cannot be followed, so tokens cannot be placed in the text`,
      )
    }
    const sections = splitNormalized?.(normalizedText) ?? [
      { start: 0, end: normalizedText.length, token: null },
    ]
    for (const { start, end, token } of sections) {
      if (token !== null) {
        ids.push(token.id)
        if (places === null) continue
        places.starts.push(source().start[start]!)
        places.ends.push(source().end[end - 1]!)
        continue
      }
      const section = normalizedText.slice(start, end)
      const isWhole = section.length === normalizedText.length
      const sectionSource = () => (isWhole ? source() : sliceAligned(source(), start, end))
      if (encodeWords === null) {
        encodePart(
          parts,
          { text: section, first: from + start === 0, source: sectionSource },
          ids,
          places,
        )
      } else if (unchanged) encodeWords(section, ids, places, from + start)
      else encodeWords(section, ids, places, places === null ? 0 : sectionSource())
    }
  }

  return {
    byteLevel,
    encode(text, ids, places) {
      for (const { start, end, token } of splitRaw(text)) {
        if (token === null) {
          encodeBetween(text.slice(start, end), start, ids, places)
          continue
        }
        ids.push(token.id)
        places?.starts.push(start)
        places?.ends.push(end)
      }
    },
  }
}

/** Moves a word's places to where the word stands, at unit `at` of a text. */
function placeWord(word: Places, at: number, source: Aligned | number, places: Places): void {
  const { starts, ends } = word
  for (let i = 0; i < starts.length; i++) {
    const start = at + starts[i]!
    const end = at + ends[i]!
    places.starts.push(typeof source === "number" ? source + start : source.start[start]!)
    places.ends.push(typeof source === "number" ? source + end : source.end[end - 1]!)
  }
}
