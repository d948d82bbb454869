import { readFileSync } from "node:fs"
import { describe, expect, test } from "vitest"
import { InputError } from "../../src/errors.ts"
import { type GgufTokenizerOptions, ggufTokenizer, loadTokenizer } from "../../src/text/index.ts"
import { DATA, hasData, newFolder, STORIES, writeLetterTokenizer } from "../export/models.ts"

const options: GgufTokenizerOptions = { vocabSize: 300, stopTokenIds: [], bosTokenId: null }

async function written(folder: string, more: Partial<GgufTokenizerOptions> = {}) {
  const { metadata, notes } = await ggufTokenizer(folder, { ...options, ...more })
  const read = Object.fromEntries([...metadata].map(([key, { value }]) => [key, value]))
  return { notes, read }
}

/** A folder with a tokenizer that has these keys. */
function folderWith(tokenizer: object, config: object = {}): string {
  const folder = newFolder()
  writeLetterTokenizer(folder, { tokenizer, config })
  return folder
}

/**
 * What llama.cpp's tokenizer for scores does: joins the neighbours whose joined piece scores best.
 */
function joinedByScore(
  text: string,
  ids: ReadonlyMap<string, number>,
  scores: readonly number[],
): number[] {
  const pieces = [...text]
  for (;;) {
    let best = -1
    let highest = Number.NEGATIVE_INFINITY
    for (let i = 0; i + 1 < pieces.length; i++) {
      const id = ids.get(pieces[i]! + pieces[i + 1]!)
      if (id !== undefined && scores[id]! > highest) [best, highest] = [i, scores[id]!]
    }
    if (best < 0) break
    pieces.splice(best, 2, pieces[best]! + pieces[best + 1]!)
  }
  return pieces.flatMap((piece) => {
    const id = ids.get(piece)
    if (id !== undefined) return [id]
    return [...new TextEncoder().encode(piece)].map((byte) => ids.get(bytePiece(byte))!)
  })
}
const bytePiece = (byte: number) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`

describe.skipIf(!hasData).each([
  ["the trained model", STORIES, 512],
  ["Llama 2", `${DATA}tokenizers/llama2`, 32_000],
])("the SentencePiece tokenizer of %s", (_, folder, vocabSize) => {
  test("gives by its scores the tokens that its merges give", async () => {
    const { read, notes } = await written(folder, { vocabSize })
    expect(notes).toEqual([])
    expect(read).toMatchObject({
      "tokenizer.ggml.model": "llama",
      "tokenizer.ggml.add_bos_token": true,
      "tokenizer.ggml.add_eos_token": false,
      "tokenizer.ggml.add_space_prefix": true,
      "tokenizer.ggml.bos_token_id": 1,
      "tokenizer.ggml.eos_token_id": 2,
      "tokenizer.ggml.unknown_token_id": 0,
    })
    const texts = read["tokenizer.ggml.tokens"] as string[]
    expect((read["tokenizer.ggml.token_type"] as number[]).slice(0, 4)).toEqual([2, 3, 3, 6])
    const ids = new Map(texts.map((text, id) => [text, id]))
    const scores = read["tokenizer.ggml.scores"] as number[]
    const tokenizer = await loadTokenizer(folder)
    const rows = readFileSync(`${DATA}sft/gsm8k_train/train.jsonl`, "utf8").slice(0, 20_000)
    const samples = [...rows.split("\n"), "é😀 ñ\t", "if x:\n\t\treturn    y"]
    for (let spaces = 1; spaces < 40; spaces++) samples.push(`a${" ".repeat(spaces)}b`)
    for (const sample of samples) {
      const prefixed = ` ${sample}`.replaceAll(" ", "▁")
      expect(joinedByScore(prefixed, ids, scores), sample).toEqual(tokenizer.encode(sample))
    }
  })
})

test.runIf(hasData).each([
  ["llama3", 128_256, "llama-bpe"],
  ["qwen2.5", 151_936, "qwen2"],
  ["gpt2", 50_257, "gpt-2"],
])("the pre-tokenizer of %s is recognised by what it does", async (name, vocabSize, pre) => {
  const stopTokenIds = [vocabSize - 1]
  const { read } = await written(`${DATA}tokenizers/${name}`, { vocabSize, stopTokenIds })
  expect(read["tokenizer.ggml.pre"]).toBe(pre)
  expect(read["tokenizer.ggml.tokens"]).toHaveLength(vocabSize)
})

const bytesOnly = { type: "ByteLevel", add_prefix_space: false, use_regex: false }
const words = { ...bytesOnly, use_regex: true }
const sequence = (...pretokenizers: object[]) => ({ type: "Sequence", pretokenizers })
const split = (Regex: string) => {
  return { type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false }
}
const bpe = { type: "BPE", vocab: { a: 3 }, merges: [] as unknown[] }

test("digits apart and GPT-2's words are SmolLM's pre-tokenizer", async () => {
  const digits = { type: "Digits", individual_digits: true }
  const { read } = await written(folderWith({ pre_tokenizer: sequence(digits, words) }))
  expect(read["tokenizer.ggml.pre"]).toBe("smollm")
})

test("a pre-tokenizer that is not recognised is refused; one that is named is not checked", async () => {
  const folder = folderWith({ pre_tokenizer: sequence(split("\\w+"), bytesOnly) })
  await expect(written(folder)).rejects.toThrow(/split \\w\+, then bytes.*--pre/)
  const { read, notes } = await written(folder, { preTokenizer: "tekken" })
  expect(read["tokenizer.ggml.pre"]).toBe("tekken")
  expect(notes).toEqual([expect.stringMatching(/said to be tekken.*not checked/)])
})

test("what llama.cpp does otherwise is said", async () => {
  const token = {
    special: true,
    single_word: false,
    lstrip: true,
    rstrip: false,
    normalized: false,
  }
  const added = [1, 2, 70, 71, 72, 73].map((id) => ({ ...token, id, content: `<${id}>` }))
  const config = { bos_token: "<1>", eos_token: "<2>" }
  const folder = folderWith({ normalizer: { type: "NFC" }, added_tokens: added }, config)
  const { notes } = await written(folder, { stopTokenIds: [70, 71, 72, 73] })
  expect(notes).toEqual([
    expect.stringMatching(/NFC/),
    expect.stringMatching(/"<1>", "<2>", "<70>" and 3 more/),
    "GGUF has room for three ids that end a text; left out: 72 (<72>), 73 (<73>)",
  ])
})

test("ends that llama.cpp knows by their texts are left to it", async () => {
  const token = {
    special: true,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
  }
  const texts = ["<s>", "<|endoftext|>", "<|im_end|>", "<|over|>"]
  const added = texts.map((content, i) => ({ ...token, content, id: 70 + i }))
  const config = { bos_token: "<s>", eos_token: "<|endoftext|>" }
  const { read } = await written(folderWith({ added_tokens: added }, config), {
    stopTokenIds: [72, 71, 73],
  })
  expect(read).toMatchObject({
    "tokenizer.ggml.eos_token_id": 71,
    "tokenizer.ggml.eot_token_id": 73,
  })
  expect(Object.keys(read)).not.toContain("tokenizer.ggml.eom_token_id")
})

const bytePieces = Object.fromEntries(
  Array.from({ length: 256 }, (_, byte) => [bytePiece(byte), 3 + byte]),
)
/** A SentencePiece tokenizer of bytes and some pieces. */
function pieces(names: readonly string[], merges: readonly string[], more: object = {}) {
  const vocab = { ...bytePieces, ...Object.fromEntries(names.map((name, i) => [name, 259 + i])) }
  return {
    pre_tokenizer: null,
    normalizer: { type: "Replace", pattern: { String: " " }, content: "▁" },
    decoder: null,
    model: { ...bpe, byte_fallback: true, vocab, merges },
    ...more,
  }
}
const metaspace = (prepend_scheme: string, split = false) => {
  return {
    normalizer: null,
    pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme, split },
  }
}

test.each([
  ["never", false, 0],
  ["always", true, 0],
  ["first", true, 1],
])("Metaspace that prepends %s", async (scheme, prefix, noted) => {
  const folder = folderWith(pieces(["▁", "a", "▁a"], ["▁ a"], metaspace(scheme)))
  const { read, notes } = await written(folder)
  expect(read["tokenizer.ggml.add_space_prefix"]).toBe(prefix)
  expect(notes).toHaveLength(noted)
  expect((read["tokenizer.ggml.scores"] as number[])[261]).toBe(-0)
})

const aroundText = (before: string) => ({
  type: "TemplateProcessing",
  single: [{ SpecialToken: { id: before, type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
  pair: [],
  special_tokens: { [before]: { id: before, ids: [0], tokens: [before] } },
})

test.each<[string, object, RegExp]>([
  ["a unigram model", { model: { type: "Unigram", vocab: [["a", -1]] } }, /type "Unigram"/],
  ["a WordPiece model", { model: { ...bpe, type: "WordPiece" } }, /type "WordPiece"/],
  ["a suffix of words", { model: { ...bpe, end_of_word_suffix: "</w>" } }, /end_of_word_suffix/],
  ["dropout", { model: { ...bpe, dropout: 0.1 } }, /dropout/],
  ["lower case", { normalizer: { type: "Lowercase" } }, /"Lowercase"\) is not in llama\.cpp/],
  ["a space before the text", { pre_tokenizer: { ...words, add_prefix_space: true } }, /--pre/],
  ["no pre-tokenizer", { pre_tokenizer: null }, /\(none\).*--pre/],
  ["a merge with a space", { model: { ...bpe, merges: [["a", " b"]] } }, /a merge holds a space/],
  ["a token past the embedding", { model: { ...bpe, vocab: { a: 300 } } }, /no row in the embed/],
  ["a text twice", { model: { ...bpe, vocab: { a: 3, "<s>": 9 } } }, /tokens 1 and 9 are both/],
  ["a prefix that is no BOS", { post_processor: aroundText("<unk>") }, /other tokens around/],
  ["a missing byte", pieces([], [], { model: { ...bpe, byte_fallback: true } }), /256 bytes/],
  ["words cut at spaces", pieces(["a"], [], metaspace("always", true)), /handling of spaces/],
  ["a merge that is not there", pieces(["a", "b", "ab"], []), /"a" and "b" is missing/],
  [
    "merges into a piece that stand apart",
    pieces(["a", "b", "c", "ab", "bc", "abc"], ["b c", "a bc", "a b", "ab c"]),
    /"ab" and "c" stands apart/,
  ],
  [
    "runs that merges and scores join otherwise",
    pieces(["a", "aa", "aaa"], ["a aa", "a a", "aa a"]),
    /joins 4 in a row in another order/,
  ],
])("%s is refused by name", async (_, tokenizer, message) => {
  const folder = folderWith(tokenizer)
  await expect(written(folder)).rejects.toThrow(message)
  await expect(written(folder)).rejects.toBeInstanceOf(InputError)
})

test("a tokenizer with nothing that ends a text is refused", async () => {
  await expect(written(folderWith({}, { eos_token: null }))).rejects.toThrow(/no token ends a text/)
})
