import { expect, test } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import type { Lint } from "../../src/data/lints.ts"
import { nearDuplicates } from "../../src/data/near-duplicates.ts"
import { wordsOf } from "../../src/data/ngrams.ts"
import { type PrepareOptions, prepareData } from "../../src/data/prepare.ts"
import { openPrepared } from "../../src/data/prepared.ts"
import { rarePlaces } from "../../src/data/rare-places.ts"
import { randomStream } from "../../src/random.ts"
import { newFolder, rowFile, tinyModel } from "./tiny-model.ts"

const model = tinyModel()
const cache = newFolder()

async function prepared(path: string, more: Partial<PrepareOptions> = {}) {
  const sources = [{ path, weight: 1 }]
  return prepareData({ sources, tokenizer: model, cache, workers: 0, maxLength: 4000, ...more })
}

async function keptLines(path: string, more: Partial<PrepareOptions>): Promise<number[]> {
  const rows = await openPrepared((await prepared(path, more)).dir)
  const lines = Array.from({ length: rows.rows }, (_, row) => rows.row(row).line)
  rows.close()
  return lines
}

/** Without what the tiny model's template gives rise to. */
const told = (lints: readonly Lint[]) => lints.filter(({ code }) => code !== "unknown-eos")

const LONG =
  "A farmer has seventeen sheep in the northern field and buys nine more at the market on Monday; how many sheep does the farmer have in all by the evening of that day"
const leaveOut = { near_duplicates: null, decontaminate: null, benchmarks: [] }

test("of rows that say nearly the same the first is kept, and the others are named with it", async () => {
  const path = rowFile([
    { problem: LONG, solution: "17 + 9 = 26" },
    { problem: "Something else entirely, of which nothing is said above?", solution: "no" },
    { problem: `${LONG.toUpperCase()}!?`, solution: "17 + 9 = 26." },
    {
      messages: [
        { role: "user", content: LONG.replace("Monday", "Friday") },
        { role: "assistant", content: "17 + 9 = 26" },
      ],
    },
  ])
  const asked = { leaveOut: { ...leaveOut, near_duplicates: 0.7 } }
  expect(await keptLines(path, asked)).toEqual([1, 2])
  const { lints, manifest } = await prepared(path, asked)
  expect(told(lints)).toMatchObject([
    {
      code: "near-duplicates",
      count: 2,
      examples: [`${path}:3 (as ${path}:1)`, `${path}:4 (as ${path}:1)`],
    },
  ])
  expect(manifest.sources[0]!.dropped).toBe(2)
  expect(await keptLines(path, { leaveOut: { ...leaveOut, near_duplicates: 1 } })).toEqual([
    1, 2, 4,
  ])
  expect(await keptLines(path, {})).toEqual([1, 2, 3, 4])
})

test("what is as similar as the threshold is found, and what is far from it is not", () => {
  const random = randomStream(1, "texts")
  const text = () => Array.from({ length: 150 }, () => `w${Math.floor(random() * 5000)}`)
  let [found, wrong] = [0, 0]
  for (let k = 0; k < 100; k++) {
    const words = text()
    const set = nearDuplicates(0.8)
    set.add(words)
    // one word of 150 changed: 5 of 146 runs differ, a similarity of 141 in 151
    if (set.add(words.with(70, "other")) === 0) found++
    // a word in nine: most runs differ
    if (set.add(words.map((word, i) => (i % 9 === 0 ? `x${i}` : word))) !== undefined) wrong++
  }
  expect(found).toBe(100)
  expect(wrong).toBe(0)
})

test("what most signatures have in common costs no comparison, and none that agrees is missed", () => {
  const [places, least] = [128, 103]
  const random = randomStream(2, "signatures")
  const common = Uint32Array.from({ length: places }, () => random() * 2 ** 32)
  const near = rarePlaces(places, least)
  const held: Uint32Array[] = []
  let [looked, agreeing, missed] = [0, 0, 0]
  for (let k = 0; k < 1600; k++) {
    // a third of the places is a text's own, but for some that change little of an earlier one
    const close = k % 10 === 9
    const base = close ? held[Math.floor(random() * held.length)]! : common
    const own = close ? 23 + (k % 4) : 45
    const signature = base.slice()
    for (let i = 0; i < own; i++) signature[Math.floor((places * (i + random())) / own)] = k
    const like = new Set(near.like(signature))
    looked += like.size
    for (let at = 0; at < held.length; at++) {
      let [place, differ] = [0, 0]
      while (place < places && differ <= places - least)
        if (signature[place] !== held[at]![place++]) differ++
      if (differ > places - least) continue
      agreeing++
      if (!like.has(at)) missed++
    }
    near.add(signature)
    held.push(signature)
  }
  expect([agreeing > 50, missed]).toEqual([true, 0])
  // of more than a million pairs; the first thousand are in no order yet
  expect(looked).toBeLessThan(600_000)
})

test("words without case and punctuation, and signs of what is written without spaces", () => {
  expect(wordsOf("It's 3.5 €, naïve—Ünïcode")).toEqual("it s 3 5 naïve ünïcode".split(" "))
  expect(wordsOf("数学题 2+2")).toEqual(["数", "学", "题", "2", "2"])
})

test.each([
  ["marks encoded apart", "Crème brûlée".normalize("NFD"), ["crème", "brûlée"]],
  ["full-width signs", "ａ １２", ["a", "12"]],
  ["signs that nobody sees", "as\u00adsi\u200bet\u2060te", ["assiette"]],
  ["Lao, which has no spaces", "ກິນ", ["ກ", "ິ", "ນ"]],
])("the same words: %s", (_, text, words) => expect(wordsOf(text)).toEqual(words))

test("what a benchmark's row does not ask is refused, and an answer that is thought is found", async () => {
  const decontaminate = { ngram: 8, remove: true }
  const asked = (path: string) => ({
    leaveOut: { ...leaveOut, decontaminate, benchmarks: [{ path, weight: 1 }] },
  })
  const path = rowFile([
    {
      messages: [
        { role: "user", content: "Why?" },
        { role: "assistant", reasoning_content: LONG, content: "so" },
      ],
    },
    { problem: "Why not?", solution: "no" },
  ])
  expect(await keptLines(path, asked(rowFile([{ query: LONG, response: "26" }])))).toEqual([2])
  const bench = rowFile([{ Q: LONG }])
  await expect(keptLines(path, asked(bench))).rejects.toThrow(
    `${bench}:1: expected a question under problem, question, prompt`,
  )
})

test("rows that share words in a row with a benchmark's question or answer", async () => {
  const bench = rowFile([
    {
      question: LONG,
      answer: "First seventeen and nine are added, which makes twenty six sheep in all",
    },
  ])
  const path = rowFile([
    { problem: `Hint: ${LONG.slice(2, 90)}`, solution: "26" },
    {
      problem: "Why?",
      solution: "first seventeen and nine are added which makes twenty-six sheep",
    },
    { problem: "A farmer has seventeen sheep", solution: "17" },
  ])
  const decontaminate = { ngram: 8, remove: true }
  const asked = {
    leaveOut: { ...leaveOut, decontaminate, benchmarks: [{ path: bench, weight: 1 }] },
  }
  expect(await keptLines(path, asked)).toEqual([3])
  const { lints } = await prepared(path, asked)
  expect(told(lints).map(({ code, count, examples }) => [code, count, examples])).toEqual([
    ["benchmark-overlap", 1, [`${path}:1`]],
    ["benchmark-overlap", 1, [`${path}:2`]],
  ])
  expect(told(lints)[1]!.message).toContain(`an answer of ${bench}`)

  const reported = { leaveOut: { ...asked.leaveOut, decontaminate: { ngram: 8, remove: false } } }
  expect(await keptLines(path, reported)).toEqual([1, 2, 3])
  expect(told((await prepared(path, reported)).lints)).toHaveLength(2)
})

test("noise is part of the rows' key, and shown before it is trained", async () => {
  const path = rowFile([{ prompt: "2+2", completion: "so 4" }])
  const plain = await prepared(path)
  const noise = { kind: "wrong-answers", share: 1, seed: 3 } as const
  const wrong = await prepared(path, { sources: [{ path, weight: 1, noise }] })
  expect(wrong.manifest.key).not.toBe(plain.manifest.key)
  expect(wrong.lints).toMatchObject([{ code: "noise", count: 1, examples: [`${path}:1`] }])
  const [a, b] = [await openPrepared(plain.dir), await openPrepared(wrong.dir)]
  expect([...b.row(0).tokenIds]).not.toEqual([...a.row(0).tokenIds])
  a.close()
  b.close()
})

test("where prompts alone are taken, none of this would act, so it is refused", () => {
  const rl = {
    model: "m",
    objective: "grpo",
    rollout: { rewards: ["math"], num_generations: 4 },
    batch_size: 8,
  }
  const train = { path: "a.jsonl" }
  const noise = { kind: "wrong-steps", share: 0.5 } as const
  const wrong = [
    { train: [{ ...train, noise }] },
    { train, near_duplicates: 0.8 },
    { train, decontaminate: {} },
  ]
  for (const data of wrong)
    expect(() => parseConfig({ ...rl, data } as never)).toThrow(/take it out/)
})
