import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { describe, expect, test } from "vitest"
import { loadTokenizer } from "../../src/text/index.ts"
import { adapted } from "../models/golden-models.ts"
import {
  ask,
  expectClose,
  expectSameApart,
  expectSameContinuations,
  found,
  gguf,
  present,
} from "./asked-llama-cpp.ts"
import { exportable, ggufOf } from "./golden-gguf.ts"
import { DATA, goldenAdapter, goldenModel, hasData, modelAround, STORIES } from "./models.ts"

const DEMO = fileURLToPath(new URL("../../demo/model", import.meta.url))

const lines = <T>(path: string): T[] =>
  readFileSync(path, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as T)

const PROMPTS = [
  [1, 46, 18, 4, 44],
  [1, 43, 17, 12, 30, 9, 38, 21],
  [1, 5, 5, 40],
]

const COUNT = 24

describe.skipIf(!present)(`asked of llama.cpp (${found})`, () => {
  test.each(exportable)("%s: the greedy continuations are ours", async (name) => {
    const architecture = await expectSameContinuations(goldenModel(name), PROMPTS, COUNT)
    expect(architecture).toBe(ggufOf(name)!.architecture)
  })

  test.each(adapted.filter((name) => ggufOf(name)))(
    "%s: and those of its adapter, merged",
    async (name) => {
      const adapter = goldenAdapter(name, goldenModel(name))
      await expectSameContinuations(adapter, PROMPTS, COUNT)
    },
  )

  const apart = adapted.filter((name) => ggufOf(name)).map((name) => [name, "adapter"] as const)
  test.each([...apart, ["qwen2", "adapter-rslora"], ["qwen2", "adapter-patterns"]] as const)(
    "%s: its %s, apart as --lora, is the adapter",
    async (name, kind) => {
      const base = goldenModel(name)
      const adapter = goldenAdapter(name, base, kind)
      await expectSameApart(adapter, base, PROMPTS, COUNT)
    },
  )

  test.runIf(hasData)(
    "the trained model tells the reference's story, and reads texts as it does",
    async () => {
      const reference = JSON.parse(readFileSync(`${STORIES}/../reference.json`, "utf8")) as {
        readonly greedy_ids: number[]
        readonly greedy_token_logprobs: number[]
        readonly encode: readonly { readonly text: string; readonly ids: number[] }[]
      }
      const [first, ...rest] = reference.greedy_ids
      const answer = await ask({
        gguf: await gguf(STORIES, { type: "f32" }),
        prompts: [[first!]],
        count: rest.length,
        texts: reference.encode.map(({ text }) => text),
      })
      expect(answer.prompts[0]).toEqual(rest)
      expectClose(answer.logprobs[0]!, reference.greedy_token_logprobs)
      expect(answer.texts).toEqual(reference.encode.map(({ ids }) => ids.slice(1)))
    },
  )

  test.runIf(hasData).each(["f16", "bf16", "q8_0", "q4_0"] as const)(
    "as %s it is read, and begins a story",
    async (type) => {
      const answer = await ask({ gguf: await gguf(STORIES, { type }), prompts: [[1]], count: 5 })
      expect(answer.prompts[0]).toEqual([403, 407, 261, 378, 432]) // "Once upon a time,"
    },
  )

  test("the bundled model, with GPT-2's pre-tokenizer named: its problems and answers are ours", async () => {
    const texts = [
      "<|user|>calc 3 + 14 - 5<|end|><|assistant|>",
      "<|user|>Ann has 12 pens. Bob gives her 5 more. How many pens does Ann have?<|end|><|assistant|>",
      "3 + 14 = 17. 17 - 5 = 12. The answer is 12.<|end|>",
    ]
    const tokenizer = await loadTokenizer(DEMO)
    const expected = texts.map((text) => tokenizer.encode(text))
    const file = await gguf(DEMO, { type: "f32", preTokenizer: "gpt-2" })
    const { texts: tokens } = await ask({ gguf: file, texts })
    expect(tokens).toEqual(expected)
    await expectSameContinuations(DEMO, expected.slice(0, 2), 40, {
      type: "f32",
      preTokenizer: "gpt-2",
    })
  })

  describe.skipIf(!hasData).each<[string, number, readonly string[]]>([
    // An added token that Transformers looks for in the normalised text, after the space put
    // before.
    ["llama2", 32_000, ["</s><s>"]],
    ["llama3", 128_256, []],
    // No NFC in llama.cpp; and it takes any token of the text "</s>" for a special one.
    ["qwen2.5", 151_936, ["e\u0301 vs \u00e9", "</s><s>"]],
    ["gpt2", 50_257, []],
  ])("the tokenizer of %s", (name, vocabSize, known) => {
    test("cuts the texts of the vectors as the reference does, but for what is known", async () => {
      const vectors = `${DATA}tokenizers/vectors/`
      const texts = new Map(
        lines<{ id: string; text: string }>(`${vectors}texts.jsonl`).map(({ id, text }) => [
          id,
          text,
        ]),
      )
      const expected = lines<{ id: string; ids: number[] }>(`${vectors}${name}.jsonl`)
      const answer = await ask({
        gguf: await gguf(await modelAround(name, vocabSize)),
        texts: expected.map(({ id }) => texts.get(id)!),
      })
      const wrong = expected.filter(({ ids }, i) => `${ids}` !== `${answer.texts[i]}`)
      expect(wrong.map(({ id }) => texts.get(id))).toEqual(known)
    })
  })

  const digits = { type: "Digits", individual_digits: true }
  const words = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true }
  type Change = NonNullable<Parameters<typeof modelAround>[2]>
  test.runIf(hasData).each<[string, string, number, Change]>([
    [
      "smollm",
      "gpt2",
      50_257,
      (json) => ({ ...json, pre_tokenizer: { type: "Sequence", pretokenizers: [digits, words] } }),
    ],
    [
      "smaug-bpe",
      "llama3",
      128_256,
      (json) => ({ ...json, model: { ...(json.model as object), ignore_merges: false } }),
    ],
  ])(
    "the pre-tokenizer %s, around the pieces of %s: every text is cut as we cut it",
    async (_, name, size, change) => {
      const folder = await modelAround(name, size, change)
      const tokenizer = await loadTokenizer(folder)
      const texts = lines<{ text: string }>(`${DATA}tokenizers/vectors/texts.jsonl`).map(
        ({ text }) => text,
      )
      const answer = await ask({ gguf: await gguf(folder), texts })
      const wrong = texts.filter((text, i) => `${tokenizer.encode(text)}` !== `${answer.texts[i]}`)
      expect(wrong).toEqual([])
    },
  )
})
