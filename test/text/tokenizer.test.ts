import { existsSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { Tokenizer as LibraryTokenizer } from "@huggingface/tokenizers"
import { describe, expect, test } from "vitest"
import { loadTokenizer } from "../../src/text/index.ts"
import { newFolder, writeLetterTokenizer } from "../export/models.ts"
import { fc } from "../seeded-check.ts"

const DATA = fileURLToPath(new URL("../../../shared/data/", import.meta.url))
const VECTORS = `${DATA}tokenizers/vectors/`
const present = existsSync(VECTORS)
if (!present) console.log("absent: ../shared/data/tokenizers; real tokenizers are not tested")

const lines = (path: string) =>
  readFileSync(path, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line))

interface Vector {
  readonly id: string
  readonly ids: number[]
  readonly with_special: number[] | null
  readonly decoded: string | null
}
const texts = new Map<string, string>(
  present ? lines(`${VECTORS}texts.jsonl`).map(({ id, text }) => [id, text]) : [],
)
/** Where the tokenizer library differs from the reference, by tokenizer and text. */
const KNOWN: Readonly<Record<string, readonly string[]>> = {}

describe.skipIf(!present).each(["qwen2.5", "llama3", "llama2", "gpt2"])("%s", async (name) => {
  if (!present) return
  const tokenizer = await loadTokenizer(`${DATA}tokenizers/${name}`)
  const vectors: Vector[] = lines(`${VECTORS}${name}.jsonl`)

  test("gives the reference's ids, with and without special tokens", () => {
    const wrong = vectors.filter(({ id, ids, with_special }) => {
      const text = texts.get(id)!
      const plain = tokenizer.encode(text)
      const special = tokenizer.encode(text, { addSpecialTokens: true })
      return `${plain}` !== `${ids}` || `${special}` !== `${with_special ?? ids}`
    })
    expect(wrong.map(({ id }) => id)).toEqual(KNOWN[name] ?? [])
  })

  test("decodes to the reference's text, whole and token by token", () => {
    for (const { id, ids, decoded } of vectors) {
      const expected = decoded ?? texts.get(id)!
      expect(tokenizer.decode(ids), id).toBe(expected)
      const stream = tokenizer.decodeStream()
      const streamed = ids.map((token) => stream.push(token)).join("") + stream.end()
      expect(streamed, id).toBe(expected)
    }
  })

  test("word by word is what the library makes of the whole text", () => {
    const json = JSON.parse(readFileSync(`${DATA}tokenizers/${name}/tokenizer.json`, "utf8"))
    const library = new LibraryTokenizer(json, {})
    const whole = (text: string): (number | undefined)[] => {
      const normalized = library.normalizer?.normalize(text) ?? text
      const words = library.pre_tokenizer?.pre_tokenize(normalized) ?? [normalized]
      const pieces: string[] = library.model!._call(words)
      return pieces.map((piece) => library.model!.tokens_to_ids.get(piece))
    }
    const words = fc
      .array(
        fc.oneof(
          fc.string({ unit: "grapheme", maxLength: 8 }),
          fc.lorem({ maxCount: 4 }),
          fc.integer().map(String),
          fc.constantFrom(
            " ",
            "  ",
            "   ",
            "\n",
            "\n\n ",
            "\t",
            "▁",
            "▁▁x",
            "'s",
            "é",
            "e\u0301",
            "ﬁ",
          ),
          fc.constantFrom(
            "$x^2 + y_1 = \\frac{1}{2}$",
            "def f(x):\n\treturn x",
            "您好 😀",
            "\u0000",
          ),
        ),
        { maxLength: 12 },
      )
      .map((parts) => parts.join(""))
      .filter((text) => text !== "" && !/[<[]/.test(text)) // nothing that spells an added token
    fc.assert(
      fc.property(words, (text) => {
        expect(tokenizer.encode(text)).toEqual(whole(text))
      }),
      { numRuns: 150 },
    )
  })

  test("offsets rise, cover the text, and belong to the same ids", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 60 }), (text) => {
        const { ids, starts, ends } = tokenizer.encodeWithOffsets(text)
        expect(ids).toEqual(tokenizer.encode(text))
        expect([starts.length, ends.length]).toEqual([ids.length, ids.length])
        let covered = 0
        for (const [t, start] of starts.entries()) {
          const end = ends[t]!
          expect(start).toBeLessThanOrEqual(end)
          expect(start).toBeLessThanOrEqual(covered)
          covered = Math.max(covered, end)
        }
        if (ids.length > 0) expect(covered).toBe(text.length)
      }),
      { numRuns: 60 },
    )
  })
})

test.each([
  [true, ["½", "¾", "1", "2"]],
  [false, ["½¾", "12"]],
])(
  "Digits (individual: %s) cuts at every kind of number, as the Rust one does",
  async (individual_digits, words) => {
    // Bytes of ½ and ¾ as stand-ins; every pair that the cuts leave together is joined.
    const merges = ["1 2", "Â ½", "Â ¾", "Â½ Â¾", "Â¾ 1", "x Â½"]
    const pieces = ["1", "2", "x", "Â", "½", "¾", ...merges.map((merge) => merge.replace(" ", ""))]
    const bytes = { type: "ByteLevel", add_prefix_space: false, use_regex: false }
    const digits = { type: "Digits", individual_digits }
    const folder = newFolder()
    writeLetterTokenizer(folder, {
      tokenizer: {
        added_tokens: [],
        pre_tokenizer: { type: "Sequence", pretokenizers: [digits, bytes] },
        model: {
          type: "BPE",
          vocab: Object.fromEntries(pieces.map((piece, i) => [piece, i])),
          merges,
        },
      },
    })
    const tokenizer = await loadTokenizer(folder)
    const texts = tokenizer.encode("x½¾x12").map((id) => tokenizer.tokenText(id))
    expect(texts.filter((text) => text !== "x")).toEqual(words)
  },
)
