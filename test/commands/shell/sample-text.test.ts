import { expect, test } from "vitest"
import { askedText, sampleText } from "../../../src/commands/shell/sample-text.ts"
import type { Prompt } from "../../../src/generate/sample-source.ts"

const dim = (text: string) => `[${text}]`
const made = { completion: "72\n", token_ids: [1, 2], logprobs: [-1, -2], finish_reason: "stop" }

test("a lone sample is its answer, without ids and log-probabilities", () => {
  expect(sampleText(made, { asked: undefined, dim })).toBe("72")
})

const turns = [
  { role: "user", content: "hello" },
  { role: "assistant", content: "hi" },
  { role: "user", content: "48 + 24?" },
]
test.each<[string, Prompt]>([
  ["a text", "48 + 24?\n"],
  ["the user's last message", turns],
  ["the same with tools beside it", { messages: turns, tools: [] }],
])("among several, %s stands above its answer", (_, prompt) => {
  expect(sampleText(made, { asked: askedText(prompt), dim })).toBe("[> 48 + 24?]\n72\n")
})

test("an answer that was cut says so, and one that failed says why", () => {
  const cut = { ...made, finish_reason: "length" }
  expect(sampleText(cut, { asked: undefined, dim })).toBe("72\n[(cut at --max-new-tokens)]")
  const failed = sampleText(
    { completion: "", finish_reason: "error", error: "HTTP 500" },
    { asked: undefined, dim },
  )
  expect(failed).toBe("no answer: HTTP 500")
})
