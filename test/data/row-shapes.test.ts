import fc from "fast-check"
import { expect, test } from "vitest"
import type { DataFormat } from "../../src/config/index.ts"
import { type Purpose, readRow } from "../../src/data/row-shapes.ts"
import { InputError } from "../../src/errors.ts"

const read = (row: unknown, format: DataFormat = "auto", purpose: Purpose = "supervised") =>
  readRow(row, { format, purpose, where: "rows.jsonl:7" })

const user = { role: "user", content: "q" }
const assistant = { role: "assistant", content: "a" }

test.each([
  ["messages", { messages: [user, assistant] }, { kind: "chat", messages: [user, assistant] }],
  [
    "prompt-completion",
    { prompt: "q", completion: "a" },
    { kind: "completion", prompt: "q", completion: "a" },
  ],
  [
    "prompt-completion of messages",
    { prompt: [user], completion: [assistant] },
    { kind: "completion", prompt: [user], completion: [assistant] },
  ],
  [
    "prompt of messages, completion of text",
    { prompt: [user], completion: "a" },
    { kind: "completion", prompt: [user], completion: [assistant] },
  ],
  [
    "alpaca",
    { instruction: "do", input: "this", output: "a" },
    { kind: "completion", prompt: "do\nthis", completion: "a" },
  ],
  [
    "alpaca without input",
    { instruction: "do", input: "", output: "a" },
    { kind: "completion", prompt: "do", completion: "a" },
  ],
  [
    "sharegpt",
    {
      conversations: [
        { from: "human", value: "q" },
        { from: "gpt", value: "a" },
      ],
    },
    { kind: "chat", messages: [user, assistant] },
  ],
  [
    "sharegpt with system",
    {
      system: "s",
      conversations: [
        { from: "human", value: "q" },
        { from: "gpt", value: "a" },
      ],
    },
    { kind: "chat", messages: [{ role: "system", content: "s" }, user, assistant] },
  ],
  [
    "problem-solution",
    { problem: "q", solution: "a", answer: "72" },
    { kind: "completion", prompt: "q", completion: "a" },
  ],
  [
    "question-answer",
    { question: "q", answer: "a" },
    { kind: "completion", prompt: "q", completion: "a" },
  ],
  ["text", { text: "t" }, { kind: "text", text: "t" }],
  [
    "a graded sample of a problem: its completion, not the gold solution",
    { problem: "q", solution: "gold", completion: "a", correct: true },
    { kind: "completion", prompt: "q", completion: "a" },
  ],
  [
    "a graded sample of a chat",
    { messages: [user, { role: "assistant", content: "gold" }], completion: "a" },
    { kind: "completion", prompt: [user], completion: [assistant] },
  ],
  [
    "content in parts",
    { messages: [{ role: "user", content: [{ type: "text", text: "q" }] }, assistant] },
    { kind: "chat", messages: [user, assistant] },
  ],
])("%s", (_, row, expected) => {
  expect(read(row)).toEqual(expected)
})

test.each([
  [
    "texts",
    { prompt: "q", chosen: "a", rejected: "b" },
    { prompt: "q", chosen: "a", rejected: "b" },
  ],
  [
    "messages that repeat the prompt",
    {
      prompt: "q",
      chosen: [user, assistant],
      rejected: [user, { role: "assistant", content: "b" }],
    },
    { prompt: [user], chosen: [assistant], rejected: [{ role: "assistant", content: "b" }] },
  ],
  [
    "no prompt: what both begin with",
    { chosen: [user, assistant], rejected: [user, { role: "assistant", content: "b" }] },
    { prompt: [user], chosen: [assistant], rejected: [{ role: "assistant", content: "b" }] },
  ],
])("preference: %s", (_, row, expected) => {
  expect(read(row, "auto", "preference")).toEqual({ kind: "preference", ...expected })
})

test.each<[string, unknown, RegExp]>([
  ["no object", 3, /expected a row to be an object, got 3/],
  ["unknown keys", { a: 1, b: 2 }, /expected messages; .* got the keys "a", "b"$/],
  ["half a pair", { prompt: "q", text_: 1 }, /it has "prompt" but no "completion"/],
  [
    "a null answer",
    { question: "q", answer: null },
    /it has "question" but no "answer" \(it is null\)/,
  ],
  ["an empty row", {}, /got an empty row/],
  ["messages that are no list", { messages: "x" }, /expected "messages" to be a list, got "x"/],
  ["no messages", { messages: [] }, /expected "messages" to hold messages, got none/],
  [
    "a message without role",
    { messages: [{ content: "x" }] },
    /expected "messages\[0\].role" to be text, got nothing/,
  ],
  ["nobody to imitate", { messages: [user] }, /expected "messages" to hold an assistant message/],
  [
    "a picture",
    { messages: [{ role: "user", content: [{ type: "image" }] }, assistant] },
    /text parts only, got a part of type "image"/,
  ],
  [
    "an unknown speaker",
    { conversations: [{ from: "alien", value: "x" }] },
    /"conversations\[0\].from" to be one of human.* got "alien"/,
  ],
  ["a number for text", { prompt: "q", completion: 3 }, /expected "completion" to be text, got 3/],
  [
    "a preference row to imitate",
    { prompt: "q", chosen: "a", rejected: "b" },
    /preference row .* use objective: dpo/,
  ],
  ["half a surrogate pair", { text: "\ud83d" }, /half of a surrogate pair/],
  ["an empty text", { text: "" }, /expected "text" to say something/],
  ["keys of Object's own", JSON.parse('{"__proto__": 1, "constructor": 2}'), /got the keys/],
])("refused: %s", (_, row, expected) => {
  expect(() => read(row)).toThrow(expected)
  expect(() => read(row)).toThrow(/^rows.jsonl:7: /)
})

test("a named format takes no other shape", () => {
  expect(() => read({ text: "t" }, "messages")).toThrow(/expected messages; got the keys "text"/)
  expect(() => read({ prompt: "q", completion: "c" }, "alpaca")).toThrow(
    /expected instruction and output; got the keys "prompt", "completion"$/,
  )
  expect(read({ text: "t", messages: [user, assistant] }, "text")).toEqual({
    kind: "text",
    text: "t",
  })
})

test("whatever a row holds, it is read or refused in words", () => {
  const key = fc.constantFrom(
    "messages",
    "prompt",
    "completion",
    "chosen",
    "rejected",
    "conversations",
    "from",
    "value",
    "role",
    "content",
    "instruction",
    "input",
    "output",
    "text",
    "tools",
    "type",
  )
  const value = fc.anything({ key, maxDepth: 4, withNullPrototype: true })
  fc.assert(
    fc.property(
      fc.dictionary(key, value),
      fc.constantFrom<Purpose>("supervised", "preference"),
      (row, purpose) => {
        try {
          read(row, "auto", purpose)
        } catch (error) {
          expect(error).toBeInstanceOf(InputError)
        }
      },
    ),
    { numRuns: 2000 },
  )
})
