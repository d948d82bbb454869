import { expect, test } from "vitest"
import { sampleText } from "../../../src/commands/shell/sample-text.ts"

const dim = (text: string) => `[${text}]`
const made = { completion: "72\n", token_ids: [1, 2], logprobs: [-1, -2], finish_reason: "stop" }

test("a lone sample is its answer, without ids and log-probabilities", () => {
  expect(sampleText({ prompt: "48 + 24?", ...made }, { alone: true, dim })).toBe("72")
})

test.each([
  ["a prompt", { prompt: "48 + 24?" }],
  ["a question", { question: "48 + 24?" }],
  ["alpaca's instruction", { instruction: "48 + 24?" }],
  [
    "the user's last message",
    {
      messages: [
        { role: "user", content: "hello" },
        { role: "assistant", content: "hi" },
        { role: "user", content: "48 + 24?" },
      ],
    },
  ],
])("among several, %s stands above its answer", (_, fields) => {
  expect(sampleText({ ...fields, ...made }, { alone: false, dim })).toBe("[> 48 + 24?]\n72\n")
})

test("an answer that was cut says so, and one that failed says why", () => {
  const cut = { ...made, finish_reason: "length" }
  expect(sampleText(cut, { alone: true, dim })).toBe("72\n[(cut at --max-new-tokens)]")
  const failed = sampleText(
    { prompt: "x", completion: "", finish_reason: "error", error: "HTTP 500" },
    { alone: true, dim },
  )
  expect(failed).toBe("no answer: HTTP 500")
})
