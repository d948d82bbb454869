import { expect, test } from "vitest"
import { previewed } from "./previewed.ts"

const chat = (flags: object, others: object = {}) => ({
  messages: [
    { role: "user", content: "q" },
    { role: "assistant", content: "bad", ...flags },
    { role: "user", content: "r" },
    { role: "assistant", content: "good", ...others },
  ],
})
const ONLY_GOOD =
  "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nbad<|im_end|>\n" +
  "<|im_start|>user\nr<|im_end|>\n<|im_start|>assistant\n⟦good<|im_end|>⟧\n"

test.each([
  [{ weight: 0 }],
  [{ weight: 0.0 }],
  [{ weight: "0" }],
  [{ train: false }],
  [{ train: "False" }],
  [{ training: false }],
  [{ trainable: false }],
  [{ loss: false }],
  [{ loss_scale: 0 }],
  [{ loss_weight: 0 }],
  [{ weight: 0, train: true }],
])("a message that says %j is context", async (flags) => {
  expect((await previewed([chat(flags)])).marked).toEqual([ONLY_GOOD])
  expect((await previewed([chat(flags, { weight: 1, loss: true })])).marked).toEqual([ONLY_GOOD])
})

test("the speakers of sharegpt say it too, and supervise: all and last keep to it", async () => {
  const row = {
    conversations: [
      { from: "human", value: "q", weight: 0 },
      { from: "gpt", value: "a", weight: 0 },
      { from: "human", value: "r" },
      { from: "gpt", value: "b" },
    ],
  }
  const { marked } = await previewed([row], { supervise: "all" })
  expect(marked[0]).toContain("user\n⟧q⟦<|im_end|>")
  expect(marked[0]).toContain("assistant\n⟧a<|im_end|>⟦")
  const last = { conversations: [...row.conversations.slice(2), ...row.conversations.slice(0, 2)] }
  expect((await previewed([last], { supervise: "last" })).marked[0]).toContain("⟦b<|im_end|>⟧")
})

test.each([0.5, 2, -1, "x", {}])("a message's weight of %j is refused by name", async (weight) => {
  await expect(previewed([chat({ weight })])).rejects.toThrow(
    /rows\.jsonl:1: expected "messages\[1\]\.weight" to be 0 or 1, true or false/,
  )
})

test.each([
  { prompt: "q", completion: "a", weight: 0 },
  { prompt: "q", completion: "a", train: false },
  { prompt: "q", completion: "a", loss: "0.0" },
  { question: "q", answer: "a", trainable: false },
  { prompt: "q", completion: "a", label: false },
  { prompt: "q", completion: "a", label: 0 },
  { prompt: "q", completion: "a", label: "False" },
  { messages: chat({}).messages, label: false },
  { messages: chat({}).messages, kto_tag: false },
  { problem: "q", completion: "a", correct: false },
  { text: "t", train: false },
  { messages: chat({ weight: 0 }, { loss: false }).messages },
])("a row that says %j is no target, and counted", async (row) => {
  const good = { prompt: "q", completion: "fine" }
  const { examples, lints, supervisedTokens } = await previewed([row, good])
  expect(examples[0]!.loss_mask).not.toContain(1)
  expect(examples[0]!.warnings).toEqual(["untrained-rows"])
  expect(lints).toContainEqual(expect.objectContaining({ code: "untrained-rows", count: 1 }))
  expect(supervisedTokens).toBe("fine".length + 1)
  const { lints: alone } = await previewed([row])
  expect(alone[0]).toMatchObject({ code: "untrained-rows", severity: "error" })
  expect(alone[0]!.message).toMatch(/^nothing to train: 1 row left out/)
  expect(lints.map(({ code }) => code)).not.toContain("unused-keys")
})

test("a number at a row's top may be a column like any other: it is named, not obeyed", async () => {
  const { marked, lints } = await previewed([
    { prompt: "q", completion: "a", weight: 2 },
    { text: "t", label: 0 },
    { prompt: "q", completion: "a", correct: true, label: 1, weight: 1 },
  ])
  expect(marked).toEqual(["q⟦a<eos>⟧", "t⟦<eos>⟧", "q⟦a<eos>⟧"])
  const unused = lints.find(({ code }) => code === "unused-keys")
  expect(unused?.message).toMatch(/2 keys of its rows are not used: weight \(1\), label \(1\)$/)
})

test("data.columns says that a column means something else", async () => {
  const row = { prompt: "q", completion: "a", loss: 0 }
  expect((await previewed([row], { columns: { loss: null } })).marked).toEqual(["q⟦a<eos>⟧"])
})
