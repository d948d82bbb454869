import { isObject, type JsonObject } from "../formats/json.ts"

/** A word's ids, and where in the word each of them stands (UTF-16 units). */
export interface EncodedWord {
  readonly ids: readonly number[]
  /** null where its pieces do not add up to it. */
  readonly places: Places | null
}

/** Half-open ranges of tokens in a text, in UTF-16 units. */
export interface Places {
  readonly starts: number[]
  readonly ends: number[]
}

interface Stage {
  pre_tokenize(text: string): string[]
}

/** How a tokenizer cuts text into words that are tokenised each by itself. */
export interface WordCutter {
  /** Words from left to right; together they are the text, unless its pattern leaves text out. */
  readonly cut: (text: string) => readonly string[]
  /** What the model is asked for a word. */
  readonly parts: (word: string) => string[]
  /** Whether its pieces stand for bytes; otherwise they are text, and `<0x0A>` for bytes. */
  readonly byteLevel: boolean
}

interface CutterParts {
  /** The library's pre-tokenizer. */
  readonly preTokenizer: unknown
  /** tokenizer.json */
  readonly config: JsonObject
}

/**
 * The cutter of a tokenizer whose words can be remembered, because what comes after the cut looks
 * at one word at a time: [Split, ByteLevel without prefix space] (Qwen, Llama 3), ByteLevel alone
 * (GPT-2), and SentencePiece with byte pieces and without a pre-tokenizer (Llama 2, Mistral).
 *
 * @returns null for any other kind.
 */
export function wordCutter({ preTokenizer, config }: CutterParts): WordCutter | null {
  const { pre_tokenizer: stages, model } = config
  if (preTokenizer === null) return isObject(model) ? sentencePieceCutter(model) : null
  if (!isObject(stages)) return null
  if (isPlainByteLevel(stages) && stages.use_regex !== false) return byteLevelCutter(preTokenizer)
  const [split, bytes, ...more] =
    stages.type === "Sequence" && Array.isArray(stages.pretokenizers) ? stages.pretokenizers : []
  const built = (preTokenizer as { readonly tokenizers?: readonly Stage[] }).tokenizers
  if (!isObject(split) || split.type !== "Split" || more.length > 0 || built?.length !== 2)
    return null
  if (!isObject(bytes) || !isPlainByteLevel(bytes) || bytes.use_regex !== false) return null
  const leavesOut = split.invert === true || /^removed$/i.test(String(split.behavior))
  return {
    cut: leavesOut ? (text) => built[0]!.pre_tokenize(text) : patternCut(built[0]!),
    parts: (word) => built[1]!.pre_tokenize(word),
    byteLevel: true,
  }
}

const isPlainByteLevel = (stage: JsonObject) =>
  stage.type === "ByteLevel" && stage.add_prefix_space === false

/** Matches end to end need no cutting by hand, which is what takes the library its time. */
function patternCut(stage: Stage): WordCutter["cut"] {
  const { pattern } = stage as { readonly pattern?: unknown }
  if (!(pattern instanceof RegExp) || !pattern.global) return (text) => stage.pre_tokenize(text)
  return (text) => {
    const words = text.match(pattern) ?? []
    let length = 0
    for (const word of words) {
      if (word.length === 0) return stage.pre_tokenize(text)
      length += word.length
    }
    return length === text.length ? words : stage.pre_tokenize(text)
  }
}

/** GPT-2's stage cuts and writes bytes in one: a word is cut by its pattern, then given to it. */
function byteLevelCutter(preTokenizer: unknown): WordCutter | null {
  const stage = preTokenizer as Stage & { readonly pattern?: unknown }
  const { pattern } = stage
  if (!(pattern instanceof RegExp) || !pattern.global) return null
  return {
    cut: (text) => text.match(pattern) ?? [],
    parts: (word) => stage.pre_tokenize(word),
    byteLevel: true,
  }
}

/**
 * Cuts between two characters that no merge ever joins: what is on the one side then cannot change
 * what becomes of the other.
 */
function sentencePieceCutter(model: JsonObject): WordCutter | null {
  const { type, vocab, merges, byte_fallback, end_of_word_suffix, continuing_subword_suffix } =
    model
  const plain = !end_of_word_suffix && !continuing_subword_suffix
  if (type !== "BPE" || byte_fallback !== true || !plain || !isObject(vocab)) return null
  if (!Array.isArray(merges)) return null
  // with every byte in the vocabulary no token is unknown, and unknown ones would be fused
  for (let byte = 0; byte < 256; byte++) {
    const piece = `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`
    if (!Object.hasOwn(vocab, piece)) return null
  }
  const joined = new Uint8Array(JUNCTIONS)
  for (const merge of merges as (string | string[])[]) {
    const [left, right] = typeof merge === "string" ? merge.split(" ", 2) : merge
    if (!left || !right) return null
    joined[junction(left.charCodeAt(left.length - 1), right.charCodeAt(0))] = 1
  }
  return {
    cut: (text) => {
      const words: string[] = []
      let from = 0
      for (let at = 1; at < text.length; at++) {
        const unit = text.charCodeAt(at)
        const isHalf = (unit & 0xfc00) === 0xdc00
        if (isHalf || joined[junction(text.charCodeAt(at - 1), unit)] === 1) continue
        words.push(text.slice(from, at))
        from = at
      }
      if (from < text.length) words.push(text.slice(from))
      return words
    },
    parts: (word) => [word],
    byteLevel: false,
  }
}

/** Two pairs that share an entry are only cut less often. */
const JUNCTIONS = 1 << 20
const junction = (left: number, right: number) =>
  (Math.imul(left, 0x9e3779b1) + Math.imul(right, 0x85ebca6b)) >>> 12

/** Words are remembered up to this many; then the memory is given back and filled anew. */
const MAX_WORDS = 50_000
/** Longer words hardly come again. */
const MAX_WORD_LENGTH = 32

/** Remembers what `encode` makes of words. */
export function wordMemory(encode: (word: string) => EncodedWord): (word: string) => EncodedWord {
  const known = new Map<string, EncodedWord>()
  /** Digits and punctuation are half of all words, and need no hashing. */
  const units: (EncodedWord | undefined)[] = new Array(0x100)
  return (word) => {
    const unit = word.length === 1 ? word.charCodeAt(0) : units.length
    const found = unit < units.length ? units[unit] : known.get(word)
    if (found !== undefined) return found
    const encoded = encode(word)
    if (unit < units.length) {
      units[unit] = encoded
      return encoded
    }
    if (word.length <= MAX_WORD_LENGTH) {
      if (known.size >= MAX_WORDS) known.clear()
      known.set(word, encoded)
    }
    return encoded
  }
}
