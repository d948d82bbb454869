/** A small byte-level BPE tokenizer, learnt from a text; digits stay single. */

const SPECIALS = ["<|endoftext|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"] as const

/** `<|role|>content<|end|>`, turn after turn. */
const CHAT_TEMPLATE =
  "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"

/** GPT-2's printable stand-ins for the 256 bytes, in the order of the bytes. */
function standIns(): string[] {
  const printable = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte !== 173)
  let extra = 256
  return Array.from({ length: 256 }, (_, byte) =>
    String.fromCharCode(printable(byte) ? byte : extra++),
  )
}

/** Pieces that merges stay inside of: single digits and words, with a leading space, and the rest. */
const WORDS = / ?\d| ?[A-Za-z]+| ?[^\sA-Za-z\d]+|\s+/g

/** The merges that byte-pair encoding finds in the text, the most frequent pair first. */
function learnMerges(texts: Iterable<string>, count: number, letters: readonly string[]): string[] {
  const counts = new Map<string, number>()
  for (const text of texts) {
    for (const part of text.split(/<\|\w+\|>/)) {
      for (const [word] of part.matchAll(WORDS)) counts.set(word, (counts.get(word) ?? 0) + 1)
    }
  }
  const encoder = new TextEncoder()
  const words = [...counts].map(([word, times]) => ({
    pieces: [...encoder.encode(word)].map((byte) => letters[byte]!),
    times,
  }))
  const merges: string[] = []
  while (merges.length < count) {
    const pairs = new Map<string, number>()
    for (const { pieces, times } of words) {
      for (let i = 1; i < pieces.length; i++) {
        const pair = `${pieces[i - 1]} ${pieces[i]}`
        pairs.set(pair, (pairs.get(pair) ?? 0) + times)
      }
    }
    const [best] = [...pairs].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1))
    if (!best) break
    const [left, right] = best[0].split(" ") as [string, string]
    merges.push(best[0])
    for (const word of words) {
      const merged: string[] = []
      for (const piece of word.pieces) {
        if (piece === right && merged.at(-1) === left) merged[merged.length - 1] = left + right
        else merged.push(piece)
      }
      word.pieces = merged
    }
  }
  return merges
}

/** The contents of tokenizer.json, tokenizer_config.json and generation_config.json. */
export function tokenizerFiles(texts: Iterable<string>, merges: number) {
  const letters = standIns()
  const learnt = learnMerges(texts, merges, letters)
  const pieces = [...letters, ...learnt.map((merge) => merge.replace(" ", ""))]
  const vocab = Object.fromEntries([...new Set(pieces)].map((piece, id) => [piece, id]))
  const size = Object.keys(vocab).length
  const ids = SPECIALS.map((_, i) => size + i)
  const special = (content: string, i: number) => ({
    id: ids[i]!,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  })
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true }
  return {
    vocabSize: size + SPECIALS.length,
    tokenizer: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: SPECIALS.map(special),
      normalizer: null,
      pre_tokenizer: {
        type: "Sequence",
        pretokenizers: [
          {
            type: "Split",
            pattern: { Regex: WORDS.source },
            behavior: "Isolated",
            invert: false,
          },
          { ...byteLevel, use_regex: false },
        ],
      },
      post_processor: null,
      decoder: { ...byteLevel, use_regex: false },
      model: {
        type: "BPE",
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        vocab,
        merges: learnt,
      },
    },
    config: {
      tokenizer_class: "PreTrainedTokenizerFast",
      eos_token: SPECIALS[0],
      pad_token: SPECIALS[0],
      chat_template: CHAT_TEMPLATE,
      model_max_length: 256,
      clean_up_tokenization_spaces: false,
    },
    generation: { eos_token_id: [ids[0]!, ids[1]!], pad_token_id: ids[0]! },
    eosTokenId: ids[0]!,
  }
}
