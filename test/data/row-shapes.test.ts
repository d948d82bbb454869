import { expect, test } from "vitest"
import type { DataFormat } from "../../src/config/index.ts"
import { type Purpose, readRow } from "../../src/data/rows/index.ts"
import { InputError } from "../../src/errors.ts"
import { fc } from "../seeded-check.ts"

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
    { kind: "completion", prompt: "do\nthis", completion: "a", question: true },
  ],
  [
    "alpaca without input",
    { instruction: "do", input: "", output: "a" },
    { kind: "completion", prompt: "do", completion: "a", question: true },
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
    { kind: "completion", prompt: "q", completion: "a", question: true },
  ],
  [
    "question-answer",
    { question: "q", answer: "a" },
    { kind: "completion", prompt: "q", completion: "a", question: true },
  ],
  ["text", { text: "t" }, { kind: "text", text: "t" }],
  [
    "a graded sample of a problem: its completion, not the gold solution",
    { problem: "q", solution: "gold", completion: "a", correct: true },
    { kind: "completion", prompt: "q", completion: "a", question: true },
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

test.each([
  ["prompt and completion", { prompt: "q", completion: "a", label: true }],
  ["a question", { question: "q", answer: "a", correct: false }],
  ["a chat", { messages: [user, assistant], kto_tag: 1 }],
])("unpaired: %s with a label, read as under auto", (_, row) => {
  expect(read(row, "unpaired", "labels")).toEqual(read(row, "auto", "labels"))
})

test.each([
  { prompt: "q", completion: "a" },
  { text: "t", label: true },
  { prompt: "q", chosen: "a", rejected: "b", label: true },
])("unpaired: %o is none", (row) => {
  expect(() => read(row, "unpaired", "labels")).toThrow(
    /expected an answer \(prompt and completion, messages, ...\) with label, true or false; got/,
  )
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
    /messages\[0\]\.content\[0\]\.type" holds a picture/,
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

test.each([
  [
    "query-response",
    { query: "q", response: "a", history: [] },
    { prompt: "q", completion: "a", question: true },
  ],
  ["prompt-response", { prompt: "q", response: "a" }, { prompt: "q", completion: "a" }],
  ["input-output", { input: "q", output: "a" }, { prompt: "q", completion: "a", question: true }],
  [
    "question-response",
    { question: "q", response: "a", system_prompt: "" },
    { prompt: "q", completion: "a", question: true },
  ],
  [
    "Dolly",
    { instruction: "q", context: "c", response: "a" },
    { prompt: "q\nc", completion: "a", question: true },
  ],
  [
    "a question with its context",
    { question: "q", context: "c", answer: "a" },
    { prompt: "c\nq", completion: "a", question: true },
  ],
  [
    "system beside texts",
    { system: "s", prompt: "q", completion: "a" },
    { prompt: "q", completion: "a", system: "s" },
  ],
  [
    "system_prompt beside a question",
    { system_prompt: "s", question: "q", answer: "a" },
    { prompt: "q", completion: "a", question: true, system: "s" },
  ],
  [
    "messages under input",
    { input: [user], output: "a", system_prompt: "" },
    { prompt: [user], completion: [assistant] },
  ],
  [
    "null messages",
    { problem: "q", solution: "a", messages: null },
    { prompt: "q", completion: "a", question: true },
  ],
])("%s", (_, row, expected) => {
  expect(read(row)).toEqual({ kind: "completion", ...expected })
})

test.each([
  ["system", { system: "s", messages: [user, assistant] }],
  [
    "system_prompt",
    {
      system_prompt: "s",
      conversations: [
        { from: "Human", value: "q" },
        { from: "GPT", value: "a" },
      ],
    },
  ],
  ["history", { instruction: "q", output: "a", system: "s", history: [["x", "y"]] }],
  [
    "history of messages",
    {
      query: "q",
      response: "a",
      system: "s",
      history: [
        { role: "User", content: "x" },
        { role: "bot", content: "y" },
      ],
    },
  ],
])("%s goes before the chat", (_, row) => {
  const before =
    "history" in row
      ? [
          { role: "user", content: "x" },
          { role: "assistant", content: "y" },
        ]
      : []
  const messages = [{ role: "system", content: "s" }, ...before, user, assistant]
  expect(read(row)).toEqual({ kind: "chat", messages })
})

test.each([
  [
    [
      { role: "User", content: "q" },
      { role: "Assistant", content: "a" },
    ],
  ],
  [
    [
      { from: "human", value: "q" },
      { from: "gpt", value: "a" },
    ],
  ],
  [
    [
      { role: "human", content: "q" },
      { role: "bot", content: "a" },
    ],
  ],
  [
    [
      { role: "user", content: { type: "text", text: "q" } },
      { role: "model", content: [{ type: "output_text", text: "a" }] },
    ],
  ],
  [
    [
      { role: "user", content: [{ type: "text", value: "q", image: null }] },
      { role: "assistant", content: "a", name: null },
    ],
  ],
  [JSON.stringify([user, assistant])],
])("messages in their usual spellings: %j", (messages) => {
  expect(read({ messages })).toEqual({ kind: "chat", messages: [user, assistant] })
})

test("columns give the file's names", () => {
  const options = { format: "auto", purpose: "supervised", where: "rows.jsonl:7" } as const
  const columns = { question: "q", answer: "a" }
  expect(readRow({ q: "2+2?", a: "4", question: "no" }, { ...options, columns })).toEqual({
    kind: "completion",
    prompt: "2+2?",
    completion: "4",
    question: true,
  })
  expect(() => readRow({ q: "2+2?" }, { ...options, columns })).toThrow(
    'rows.jsonl:7: expected a column "a" (data.columns.answer), got the keys "q"',
  )
})

test("a preference row in a chat's shape is told to be one; texts can share their prompt", () => {
  const row = {
    conversations: [{ from: "human", value: "q" }],
    chosen: { from: "gpt", value: "a" },
    rejected: { from: "gpt", value: "b" },
  }
  expect(() => read(row)).toThrow(/got a preference row \(chosen, rejected\); use objective: dpo/)
  expect(read(row, "auto", "preference")).toEqual({
    kind: "preference",
    prompt: [user],
    chosen: [assistant],
    rejected: [{ role: "assistant", content: "b" }],
  })
  const texts = { chosen: "The sky is blue.", rejected: "The sky is black." }
  expect(() => read(texts, "auto", "preference")).toThrow(/data.implicit_prompt: true takes/)
  expect(
    readRow(texts, { format: "auto", purpose: "preference", implicitPrompt: true, where: "w" }),
  ).toEqual({ kind: "preference", prompt: "The sky is ", chosen: "blue.", rejected: "black." })
})
