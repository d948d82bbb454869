/**
 * Rows of every shape, and what preview shows of them before the answer: what every verb must send.
 */
import { templateSetup } from "../../src/data/prepare.ts"
import { previewData } from "../../src/data/preview-rows.ts"
import type { PromptLayout } from "../../src/generate/index.ts"
import { rowFile } from "../data/tiny-model.ts"

const TOOL = { type: "function", function: { name: "f", parameters: {} } }
const user = { role: "user", content: "2+2?" }
const answer = { role: "assistant", content: "4" }

/** Rows of every shape, answered in training and asked by the same row. */
export const SHAPES: readonly (readonly [name: string, row: Record<string, unknown>])[] = [
  ["messages", { messages: [user, answer] }],
  ["messages with system and tools", { system: "s", messages: [user, answer], tools: [TOOL] }],
  ["messages with a date", { messages: [{ role: "system", content: "s" }, user, answer] }],
  [
    "sharegpt",
    {
      conversations: [
        { from: "human", value: "2+2?" },
        { from: "gpt", value: "4" },
      ],
    },
  ],
  ["prompt of text", { prompt: "2+2?", completion: "4" }],
  ["prompt with a system text", { system: "s", prompt: "2+2?", completion: "4" }],
  ["prompt of messages", { prompt: [user], completion: "4" }],
  ["prompt-response", { prompt: "2+2?", response: "4" }],
  ["problem-solution", { problem: "2+2?", solution: "4" }],
  ["question-answer", { question: "2+2?", answer: "4" }],
  [
    "a question with system and context",
    { system: "s", context: "c", question: "2+2?", answer: "4" },
  ],
  ["query-response", { query: "2+2?", response: "4" }],
  ["query with history", { query: "2+2?", response: "4", history: [["1+1?", "2"]] }],
  ["alpaca", { instruction: "Add.", input: "2+2", output: "4" }],
  ["Dolly", { instruction: "Add.", context: "2+2", response: "4" }],
  ["input-output", { input: "2+2?", output: "4" }],
  ["a sample of a problem", { problem: "2+2?", completion: "4", seed: 3 }],
]
/** Writes a date as Llama 3's do, and tools. */
export const TEMPLATE =
  "{{ bos_token }}{% if date_string is defined %}[{{ date_string }}]{% endif %}{% for tool in tools or [] %}{{ tool | tojson }}{% endfor %}" +
  "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}" +
  "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"

/** The ids that preview shows before the (last) answer. */
export async function trainedPrompt(row: unknown, tokenizer: string, template: string | true) {
  let ids: readonly number[] = []
  await previewData({
    sources: [{ path: rowFile([row]), weight: 1 }],
    ...{ tokenizer, template, supervise: "last", examples: 1, scan: 1 },
    show: ({ token_ids, loss_mask }) => {
      ids = token_ids.slice(0, loss_mask.indexOf(1))
    },
  })
  return ids
}

/** Models and the layouts that their rows can have. */
export const MODELS = [
  ["a chat model", TEMPLATE, ["auto", "none", true]],
  ["a model without a template", null, ["auto", "none"]],
] as const

const needsTemplate = (row: Record<string, unknown>) =>
  ["messages", "conversations", "history"].some((key) => key in row) || Array.isArray(row.prompt)

/** The shapes that a model can be trained on. */
export const shapesFor = (template: string | null) =>
  SHAPES.filter(([, row]) => template !== null || !needsTemplate(row))

export const layoutUnder = (template: string | null, how: string | true): PromptLayout => ({
  hasTemplate: template !== null,
  plainTexts: templateSetup(how).plainTexts,
  columns: {},
})
