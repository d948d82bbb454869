import { existsSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { describe, expect, test } from "vitest"
import { InputError } from "../../src/errors.ts"
import { type ChatMessage, chatTemplate } from "../../src/text/index.ts"
import { unfinishedText } from "../../src/text/unfinished-message.ts"
import { fc } from "../seeded-check.ts"

const FOLDER = fileURLToPath(new URL("../../../shared/data/chat_templates/", import.meta.url))
const present = existsSync(FOLDER)
if (!present) console.log("absent: ../shared/data/chat_templates; its templates are not tested")

interface Rendering {
  readonly template: string
  readonly case: string
  readonly messages: ChatMessage[]
  readonly add_generation_prompt: boolean
  readonly variables: Record<string, string>
  readonly rendered: string | null
}
const renderings: Rendering[] = present
  ? readFileSync(`${FOLDER}rendered.jsonl`, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line))
  : []

const SPECIAL = ["<|im_end|>", "<|eot_id|>", "</s>", "<end_of_turn>", "<|end|>", "<|EOT|>"]
const load = (name: string, variables: Record<string, string>) =>
  chatTemplate({
    path: name,
    source: readFileSync(FOLDER + name, "utf8"),
    tokens: variables,
    specialTokens: [...SPECIAL, variables.eos_token ?? "", "<｜end▁of▁sentence｜>"],
  })

describe.skipIf(!present)("real templates", () => {
  test.each(renderings)("$template: $case", (row) => {
    const template = load(row.template, row.variables)
    const options = { addGenerationPrompt: row.add_generation_prompt }
    if (row.rendered === null) {
      expect(() => template.render(row.messages, options)).toThrow(InputError)
    } else {
      expect(template.render(row.messages, options)).toBe(row.rendered)
    }
  })

  const templates = [...new Map(renderings.map((row) => [row.template, row])).values()]
  const words = fc.stringMatching(/^[a-z0-9 .,<>{}=\n'"]{1,40}$/).filter((s) => s.trim() !== "")

  test.each(templates)("$template: spans hold what the assistant says and nothing else", (row) => {
    const template = load(row.template, row.variables)
    fc.assert(
      fc.property(fc.array(fc.tuple(words, words), { minLength: 1, maxLength: 3 }), (turns) => {
        const messages = turns.flatMap(([user, assistant]) => [
          { role: "user", content: user },
          { role: "assistant", content: assistant },
        ])
        const { text, spans } = template.renderWithSpans(messages)
        expect(spans.map(({ message }) => message)).toEqual(turns.map((_, i) => 2 * i + 1))
        for (const { message, start, end, turnEnd } of spans) {
          const said = text.slice(start, end).trim()
          const content = messages[message]!.content.trim()
          expect(said.endsWith(content)).toBe(true)
          const more = said.slice(0, said.length - content.length)
          expect(more.replace(/<think>|<\/think>/g, "").trim()).toBe("")
          const closing = text.slice(end, turnEnd).trim()
          if (closing !== "")
            expect([...SPECIAL, row.variables.eos_token, "<｜end▁of▁sentence｜>"]).toContain(
              closing,
            )
        }
        return true
      }),
      { numRuns: 40 },
    )
  })
})

const CHATML =
  "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
const MARKED =
  "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}\n{% else %}{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
const chat = [
  { role: "user", content: "hi" },
  { role: "assistant", content: "hi" },
  { role: "user", content: "hi" },
  { role: "assistant", content: "bye" },
]
const own = (source: string) =>
  chatTemplate({ path: "own", source, tokens: {}, specialTokens: ["<|im_end|>"] })

test.each([CHATML, MARKED])("equal texts are told apart by their place", (source) => {
  const { text, spans } = own(source).renderWithSpans(chat)
  expect(spans.map(({ start, end }) => text.slice(start, end))).toEqual(["hi", "bye"])
  expect(spans.map(({ end, turnEnd }) => text.slice(end, turnEnd))).toEqual([
    "<|im_end|>",
    "<|im_end|>",
  ])
  expect(text.slice(0, spans[0]!.start)).toMatch(/assistant\n$/)
})

test("a template that leaves the assistant out is refused, and so is one that does not parse", () => {
  const silent =
    "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}"
  expect(() => own(silent).renderWithSpans(chat)).toThrow(/own: cannot tell/)
  expect(() => own("{% for m in %}")).toThrow(/own: the chat template does not parse/)
})

interface Unfinished {
  readonly name: string
  readonly template: string
  readonly messages: ChatMessage[]
  readonly text: string | null
}
const unfinished: Unfinished[] = JSON.parse(
  readFileSync(new URL("../../golden/text/unfinished.json", import.meta.url), "utf8"),
)

test.each(unfinished)("a message to go on in is Transformers': $name", ({ template, ...row }) => {
  const render = () => unfinishedText(row.messages, own(template))
  if (row.text === null) expect(render).toThrow(/own: the last message cannot be gone on in/)
  else expect(render()).toBe(row.text)
})

test.each([
  ["in capitals", "{{ messages[-1].content | upper }}", /does not write as it stands/],
  ["twice", "{{ messages[-1].content }}; {{ messages[-1].content }}", /more than once/],
])("a last message that a template writes %s is not gone on in", (_, source, message) => {
  expect(() => unfinishedText(chat, own(source))).toThrow(message)
})

test("there is no going on in a call of a tool, nor in nothing", () => {
  const calling = { role: "assistant", content: "", tool_calls: [{ function: { name: "f" } }] }
  expect(() => unfinishedText([calling], own(CHATML))).toThrow(/calls tools/)
  expect(() => unfinishedText([], own(CHATML))).toThrow(/no message/)
})
