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
 * (GPT-2), and SentencePiece without a pre-tokenizer whose merges never put `▁` after another
 * character, so that none crosses the beginning of a word (Llama 2, Mistral).
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
  const crosses = (merge: string | string[]) =>
    /[^▁]▁/.test(typeof merge === "string" ? merge.replace(" ", "") : merge.join(""))
  if (merges.some(crosses)) return null
  return {
    cut: (text) => text.match(/▁*[^▁]+|▁+/g) ?? [],
    parts: (word) => [word],
    byteLevel: false,
  }
}

/** Words are remembered up to this many; then the memory is given back and filled anew. */
const MAX_WORDS = 50_000
/** Longer words hardly come again. */
const MAX_WORD_LENGTH = 32

/** Remembers what `encode` makes of words. */
export function wordMemory(encode: (word: string) => EncodedWord): (word: string) => EncodedWord {
  const known = new Map<string, EncodedWord>()
  return (word) => {
    const found = known.get(word)
    if (found !== undefined) return found
    const encoded = encode(word)
    if (word.length <= MAX_WORD_LENGTH) {
      if (known.size >= MAX_WORDS) known.clear()
      known.set(word, encoded)
    }
    return encoded
  }
}
