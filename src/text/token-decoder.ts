import { assert } from "../errors.ts"
import { isObject } from "../formats/json.ts"
import type { LibraryTokenizer } from "./library-tokenizer.ts"
import { type PieceKind, pieceBytes } from "./pieces.ts"

/** Text from ids, one at a time. */
export interface DecodeStream {
  /** The text that this id completes; may be empty while a character is incomplete. */
  push(id: number): string
  /** What is left: an incomplete character becomes U+FFFD. */
  end(): string
}

interface DecodeOptions {
  readonly skipSpecialTokens?: boolean
}

export interface Decoder {
  decode(ids: readonly number[], options?: DecodeOptions): string
  decodeStream(options?: DecodeOptions): DecodeStream
  tokenText(id: number): string
}

interface DecoderParts {
  readonly library: LibraryTokenizer
  /** `decoder` of tokenizer.json. */
  readonly config: unknown
  readonly byteLevel: boolean
  readonly added: ReadonlyMap<number, string>
  readonly specialTokenIds: ReadonlySet<number>
}

interface SentencePieceDecoder {
  /** Whether the first space of the text is one that encoding put there. */
  readonly stripsFirstSpace: boolean
}

/**
 * The decoders of sentencepiece vocabularies: `▁` to space, byte fallback, perhaps one space off
 * the front.
 */
function sentencePieceDecoder(config: unknown): SentencePieceDecoder | null {
  if (!isObject(config)) return null
  if (config.type === "Metaspace") {
    return { stripsFirstSpace: config.prepend_scheme !== "never" }
  }
  if (config.type !== "Sequence" || !Array.isArray(config.decoders)) return null
  const steps = config.decoders.filter(isObject)
  const [replace, fallback, fuse, strip] = steps
  const replaces =
    replace?.type === "Replace" &&
    replace.content === " " &&
    isObject(replace.pattern) &&
    replace.pattern.String === "▁"
  if (!replaces || fallback?.type !== "ByteFallback" || fuse?.type !== "Fuse") return null
  if (strip === undefined) return { stripsFirstSpace: false }
  const one =
    strip.type === "Strip" && strip.content === " " && strip.start === 1 && strip.stop === 0
  return one && steps.length === 4 ? { stripsFirstSpace: true } : null
}

function textDecoder() {
  return new TextDecoder("utf-8", { ignoreBOM: true })
}

const ENCODER = new TextEncoder()

/** Through the library, whatever the vocabulary. */
function libraryDecoder(library: LibraryTokenizer) {
  const decode = (ids: readonly number[], skipSpecialTokens: boolean): string =>
    ids.length === 0
      ? ""
      : library.decode([...ids], {
          skip_special_tokens: skipSpecialTokens,
          clean_up_tokenization_spaces: false,
        })

  /** Emits what no later id can change: all but a tail of replacement characters. */
  const stream = ({ skipSpecialTokens = false }: DecodeOptions = {}): DecodeStream => {
    const ids: number[] = []
    let emitted = ""
    const upTo = (text: string): string => {
      const fresh = text.slice(emitted.length)
      emitted = text
      return fresh
    }
    return {
      push(id) {
        ids.push(id)
        const text = decode(ids, skipSpecialTokens).replace(/\uFFFD+$/, "")
        return text.startsWith(emitted) ? upTo(text) : ""
      },
      end: () => upTo(decode(ids, skipSpecialTokens)),
    }
  }
  return { decode, stream }
}

/**
 * Decoding by bytes, for the two kinds of vocabulary in use; other kinds go through the library.
 */
export function decoderOf(parts: DecoderParts): Decoder {
  const { library, byteLevel, added, specialTokenIds } = parts
  const sentencePiece = sentencePieceDecoder(parts.config)
  const kind: PieceKind | null = byteLevel
    ? "byte-level"
    : sentencePiece !== null
      ? "sentencepiece"
      : null
  const stripsFirstSpace = sentencePiece?.stripsFirstSpace ?? false
  const cache: (Uint8Array | undefined)[] = []
  const byLibrary = libraryDecoder(library)

  /** An id above the vocabulary (a padded embedding row) decodes to nothing. */
  const bytesOf = (id: number): Uint8Array => {
    assert(kind !== null, "bytes of a vocabulary of unknown kind")
    const known = cache[id]
    if (known !== undefined) return known
    const literal = added.get(id)
    const piece = literal ?? library.id_to_token(id) ?? ""
    const bytes = literal === undefined ? pieceBytes(piece, kind) : ENCODER.encode(piece)
    cache[id] = bytes
    return bytes
  }

  const byteStream = ({ skipSpecialTokens = false }: DecodeOptions = {}): DecodeStream => {
    const utf8 = textDecoder()
    let atStart = stripsFirstSpace
    const emit = (text: string): string => {
      if (!atStart || text === "") return text
      atStart = false
      return text.startsWith(" ") ? text.slice(1) : text
    }
    return {
      push: (id) =>
        skipSpecialTokens && specialTokenIds.has(id)
          ? ""
          : emit(utf8.decode(bytesOf(id), { stream: true })),
      end: () => emit(utf8.decode()),
    }
  }

  const decodeStream = kind === null ? byLibrary.stream : byteStream
  return {
    decodeStream,
    decode(ids, options = {}) {
      if (kind === null) return byLibrary.decode(ids, options.skipSpecialTokens ?? false)
      const stream = decodeStream(options)
      const parts = ids.map((id) => stream.push(id))
      return parts.join("") + stream.end()
    },
    tokenText(id) {
      if (kind === null) return library.id_to_token(id) ?? ""
      const bytes = bytesOf(id)
      try {
        return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes)
      } catch {
        return [...bytes]
          .map((byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`)
          .join("")
      }
    },
  }
}
