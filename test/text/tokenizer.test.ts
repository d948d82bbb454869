import { existsSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { loadTokenizer } from "../../src/text/index.ts"

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

  test("offsets rise, cover the text, and belong to the same ids", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 60 }), (text) => {
        const { ids, offsets } = tokenizer.encodeWithOffsets(text)
        expect(ids).toEqual(tokenizer.encode(text))
        expect(offsets).toHaveLength(ids.length)
        let covered = 0
        for (const [start, end] of offsets) {
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
