import { isObject } from "../formats/json.ts"

/** A word's ids, and the pieces they stand for. */
export interface WordPieces {
  readonly ids: readonly number[]
  readonly pieces: readonly string[]
}

interface Stage {
  pre_tokenize(text: string, options?: { readonly section_index: number }): string[]
}

interface CacheParts {
  /** The library's pre-tokenizer. */
  readonly preTokenizer: unknown
  /** `pre_tokenizer` of tokenizer.json. */
  readonly config: unknown
  /** Tokenises one word, as the later stages and the model would. */
  readonly encodeWord: (word: string, laterStages: readonly Stage[]) => WordPieces
}

/** Words are remembered up to this many; then the memory is given back and filled anew. */
const MAX_WORDS = 50_000
/** Longer words hardly come again. */
const MAX_WORD_LENGTH = 32

/**
 * Text to words to ids with each word's ids remembered: three times as fast as asking the library
 * for every word. Only for pre-tokenizers whose first stage cuts the text and whose later stages
 * look at one word at a time: [Split, ByteLevel without prefix space], as Qwen and Llama 3 have.
 *
 * @returns null for any other kind.
 */
export function wordEncoder({
  preTokenizer,
  config,
  encodeWord,
}: CacheParts): ((text: string) => WordPieces[]) | null {
  const stages = isObject(config) && config.type === "Sequence" ? config.pretokenizers : null
  const built = (preTokenizer as { readonly tokenizers?: readonly Stage[] } | null)?.tokenizers
  if (!Array.isArray(stages) || stages.length !== 2 || built?.length !== 2) return null
  const [split, bytes] = stages
  const cuts = isObject(split) && split.type === "Split"
  const local =
    isObject(bytes) &&
    bytes.type === "ByteLevel" &&
    bytes.add_prefix_space === false &&
    bytes.use_regex === false
  if (!cuts || !local) return null
  const known = new Map<string, WordPieces>()
  const later = built.slice(1)
  return (text) =>
    built[0]!.pre_tokenize(text).map((word) => {
      const found = known.get(word)
      if (found !== undefined) return found
      const encoded = encodeWord(word, later)
      if (word.length <= MAX_WORD_LENGTH) {
        if (known.size >= MAX_WORDS) known.clear()
        known.set(word, encoded)
      }
      return encoded
    })
}
