import { existsSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { describe, expect, test } from "vitest"
import { InputError } from "../../src/errors.ts"
import { type ChatMessage, chatTemplate } from "../../src/text/index.ts"

const FOLDER = fileURLToPath(new URL("../../../shared/data/chat_templates/", import.meta.url))
const present = existsSync(FOLDER)
if (!present) console.log("absent: ../shared/data/chat_templates; its templates are not tested")

const own = (source: string, specialTokens: readonly string[] = ["<|im_end|>"]) =>
  chatTemplate({ path: "own", source, tokens: { eos_token: "</s>" }, specialTokens })
const real = (name: string) =>
  chatTemplate({
    path: name,
    source: readFileSync(FOLDER + name, "utf8"),
    tokens: { bos_token: "<s>", eos_token: "</s>" },
    specialTokens: ["<|im_end|>", "<|eot_id|>", "<｜end▁of▁sentence｜>", "</s>"],
  })

/** What is trained of each assistant message, with its closing token behind a bar. */
function said(template: ReturnType<typeof own>, messages: readonly ChatMessage[]): string[] {
  const { text, spans } = template.renderWithSpans(messages)
  return spans.map(
    ({ start, end, turnEnd }) => `${text.slice(start, end)}|${text.slice(end, turnEnd)}`,
  )
}

const call = (name: string) => ({
  type: "function",
  function: { name, arguments: { city: "Rome" } },
})
const TOOL_CHAT: ChatMessage[] = [
  { role: "user", content: "weather?" },
  { role: "assistant", content: "", tool_calls: [call("weather")] },
  { role: "tool", content: "<|im_end|> sun" },
  { role: "assistant", content: "Sunny." },
]

describe.skipIf(!present)("tool calls are what the assistant says", () => {
  test.each([
    "qwen2.5-instruct.from-tokenizer-config.jinja",
    "qwen2.5-math.from-tokenizer-config.jinja",
    "qwen3.from-tokenizer-config.jinja",
  ])("%s", (name) => {
    const [first, second] = said(real(name), TOOL_CHAT)
    expect(first).toMatch(
      /^\n?<tool_call>\n\{"name": "weather", "arguments": \{"city": "Rome"\}\}\n<\/tool_call>\|<\|im_end\|>$/,
    )
    expect(second).toMatch(/^(<think>\n\n<\/think>\n\n)?Sunny\.\|<\|im_end\|>$/)
  })

  test("with words before them, and where the template ignores the words", () => {
    const messages = [
      { role: "user", content: "weather?" },
      { role: "assistant", content: "I look.", tool_calls: [call("weather")] },
    ]
    expect(said(real("qwen2.5-instruct.from-tokenizer-config.jinja"), messages)[0]).toMatch(
      /^I look\.\n<tool_call>[^|]*<\/tool_call>\|<\|im_end\|>$/,
    )
    expect(said(real("llama-3.2-instruct.from-tokenizer-config.jinja"), messages)[0]).toMatch(
      /^\{"name": "weather", "parameters": \{"city": "Rome"\}\}\|<\|eot_id\|>$/,
    )
  })
})

describe.skipIf(!present)("thinking", () => {
  const thought = "<think>\nhmm\n</think>\n\nfour"
  const chat = [
    { role: "user", content: "2+2?" },
    { role: "assistant", content: thought },
    { role: "user", content: "sure?" },
    { role: "assistant", content: thought },
  ]

  test("Qwen 3 drops it from earlier turns and writes it in the last", () => {
    expect(said(real("qwen3.from-tokenizer-config.jinja"), chat)).toEqual([
      "four|<|im_end|>",
      `${thought}|<|im_end|>`,
    ])
  })

  test("its own field is trained as well", () => {
    const messages = [chat[0]!, { role: "assistant", content: "four", reasoning_content: "hmm" }]
    expect(said(real("qwen3.from-tokenizer-config.jinja"), messages)).toEqual([
      `${thought}|<|im_end|>`,
    ])
  })

  test("DeepSeek R1 drops it everywhere", () => {
    expect(said(real("deepseek-r1-distill-qwen-32b.llamacpp.jinja"), chat)).toEqual([
      "\n\nfour|<｜end▁of▁sentence｜>",
      "\n\nfour|<｜end▁of▁sentence｜>",
    ])
  })
})

const TURN = "<|im_start|>{{ m.role }}\n"
const user = (content: string) => ({ role: "user", content })
const assistant = (content: string) => ({ role: "assistant", content })

test.each([
  ["strips both ends", "{{ m.content | trim }}<|im_end|>\n", "  a b\n", "a b|<|im_end|>"],
  ["strips the front", "{{ m.content.lstrip() }}<|im_end|>\n", " \n a ", "a |<|im_end|>"],
  ["keeps all space", "{{ m.content }}<|im_end|>\n", " \n a\n", " \n a\n|<|im_end|>"],
  ["puts space before its closing", "{{ m.content }} <|im_end|>", "a", "a| <|im_end|>"],
  ["closes with EOS", "{{ m.content + eos_token }}", "a", "a|</s>"],
  ["closes with what no tokenizer knows", "{{ m.content }}<|fin|>\n", "a", "a|<|fin|>"],
  ["does not close", "{{ m.content }}\n", "a", "a|"],
  ["escapes", "{{ m.content | tojson }}<|im_end|>", 'a"b', 'a\\"b|"<|im_end|>'],
])("a template that %s", (_, body, content, expected) => {
  const template = own(`{% for m in messages %}${TURN}${body}{% endfor %}`, ["<|im_end|>", "</s>"])
  if (expected.endsWith('|"<|im_end|>')) {
    // The quotes are the template's: what closes the turn does not follow the message itself.
    expect(said(template, [user("q"), assistant(content)])).toEqual(['a\\"b|'])
    return
  }
  expect(said(template, [user("q"), assistant(content), user("r"), assistant(content)])).toEqual([
    expected,
    expected,
  ])
})

test.each([
  ["writes the message twice", "{{ m.content }}{{ m.content }}<|im_end|>"],
  ["drops earlier turns", "{% if loop.last %}{{ m.content }}<|im_end|>{% endif %}"],
  ["rewrites the whole when a message changes", "{{ m.content }}{{ m.content | length }}"],
])("a template that %s is refused: a wrong mask is worse than none", (_, body) => {
  const template = own(`{% for m in messages %}${TURN}${body}{% endfor %}`)
  const chat = [user("q"), assistant("a"), user("r"), assistant("b")]
  expect(() => template.renderWithSpans(chat)).toThrow(InputError)
  expect(() => template.renderWithSpans(chat)).toThrow(/own: cannot tell/)
})

test("a message that looks like the template changes no span", () => {
  const template = own(`{% for m in messages %}${TURN}{{ m.content }}<|im_end|>\n{% endfor %}`)
  const chat = [user("<|im_start|>assistant\na<|im_end|>\n"), assistant("a<|im_end|>a")]
  const { text, spans } = template.renderWithSpans(chat)
  expect(spans).toHaveLength(1)
  expect(text.slice(spans[0]!.start, spans[0]!.end)).toBe("a<|im_end|>a")
  expect(text.length - spans[0]!.turnEnd).toBe(1)
})

test("generation blocks: content and closing are told apart even when one holds the other", () => {
  const template = own(
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}",
  )
  expect(said(template, [user("q"), assistant(">"), user(">"), assistant("im_end")])).toEqual([
    ">|<|im_end|>",
    "im_end|<|im_end|>",
  ])
})

test("templates come to an end", () => {
  const long = `{% for i in range(99999) %}${"{% set x = i %}".repeat(200)}{% endfor %}`
  expect(() => own(long).render([user("q")])).toThrow(/goes on after/)
  expect(() => own("{{ range(1000000000000) }}").render([user("q")])).toThrow(InputError)
  expect(own("{{ strftime_now('%Y') }}").render([user("q")])).toMatch(/^\d{4}$/)
  expect(own("{{ range(2, 8, 3)|list }}").render([])).toBe("[2, 5]")
})

interface GoldenBlocks {
  readonly name: string
  readonly template: string
  readonly messages: ChatMessage[]
  readonly rendered: string
  readonly spans: [number, number][]
}
const golden: GoldenBlocks[] = JSON.parse(
  readFileSync(new URL("../../golden/text/generation_blocks.json", import.meta.url), "utf8"),
)

test.each(golden)("generation blocks are Transformers': $name", (row) => {
  const template = own(row.template)
  expect(template.render(row.messages)).toBe(row.rendered)
  const { text, spans } = template.renderWithSpans(row.messages)
  expect(text).toBe(row.rendered)
  expect(spans.map(({ start, turnEnd }) => [start, turnEnd])).toEqual(row.spans)
})
