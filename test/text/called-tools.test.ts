/** Calls are read as each template writes them: what it renders is read back. */
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { describe, expect, test } from "vitest"
import { type CallForm, callForm } from "../../src/text/call-form.ts"
import { calledTools, type Tools } from "../../src/text/called-tools.ts"
import { type ChatTemplate, chatTemplate } from "../../src/text/index.ts"
import { fc } from "../seeded-check.ts"

const own = (calls: string) =>
  chatTemplate({
    path: "own",
    source: `{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}${calls}<|end|>\n{% endfor %}
{%- if add_generation_prompt %}<|start|>assistant\n{% endif %}`,
    tokens: {},
    specialTokens: ["<|start|>", "<|end|>"],
  })
const each = (call: string) =>
  `{% for c in m.tool_calls or [] %}{% set f = c.function %}${call}{% endfor %}`
const keyed = (key: string, close: string) =>
  `{% for k, v in f.arguments.items() %}${key}{% endfor %}${close}`

const TEMPLATES: Record<string, ChatTemplate> = {
  "objects between tags, like Qwen's": own(
    each(
      '\n<tool_call>\n{"name": "{{ f.name }}", "arguments": {{ f.arguments|tojson }}}\n</tool_call>',
    ),
  ),
  "a list behind a token, like Granite's": own(
    "{% if m.tool_calls %}<|tool_call|>{{ m.tool_calls|map(attribute='function')|list|tojson }}{% endif %}",
  ),
  "the whole call": own(each("[CALL]{{ c|tojson }}")),
  "an object and nothing else, like Llama's": own(
    '{% if m.tool_calls %}{% if m.tool_calls|length > 1 %}{{ raise_exception("one") }}{% endif %}{% set f = m.tool_calls[0].function %}{"name": "{{ f.name }}", "parameters": {{ f.arguments|tojson }}}{% endif %}',
  ),
  "a name and an object, like newer Mistrals'": own(
    each("[TOOL_CALLS]{{ f.name }}[ARGS]{{ f.arguments|tojson }}"),
  ),
  "a name alone on a line, like GLM-4's": own(each("\n{{ f.name }}\n{{ f.arguments|tojson }}")),
  "arguments one by one, like Qwen3-Coder's": own(
    each(
      `\n<tool_call>\n<function={{ f.name }}>\n${keyed(
        "<parameter={{ k }}>\n{{ v if v is string else v|tojson }}\n</parameter>\n",
        "</function>\n</tool_call>",
      )}`,
    ),
  ),
  "arguments by key and value, like GLM-4.5's": own(
    each(
      `\n<tool_call>{{ f.name }}\n${keyed(
        "<arg_key>{{ k }}</arg_key>\n<arg_value>{{ v if v is string else v|tojson }}</arg_value>\n",
        "</tool_call>",
      )}`,
    ),
  ),
}

const FOLDER = fileURLToPath(new URL("../../../shared/data/chat_templates/", import.meta.url))
const REAL = existsSync(FOLDER)
  ? readdirSync(FOLDER).filter((name) => /qwen(2\.5-i|3)/.test(name))
  : []
if (REAL.length === 0)
  console.log("absent: ../shared/data/chat_templates; real templates not tried")
for (const name of REAL) {
  const source = readFileSync(`${FOLDER}${name}`, "utf8")
  const specialTokens = ["<|im_start|>", "<|im_end|>"]
  TEMPLATES[name] = chatTemplate({ path: name, source, tokens: {}, specialTokens })
}

const PROPERTIES = { city: { type: "string" }, days: { type: "integer" }, more: { type: "array" } }
const TOOLS: Tools = new Map(
  ["get_weather", "get_weather_later", "f"].map((name) => [name, { properties: PROPERTIES }]),
)
const schemas = [...TOOLS.keys()].map((name) => ({
  type: "function",
  function: { name, description: "d", parameters: { type: "object", properties: PROPERTIES } },
}))

type Call = { name: string; arguments: Record<string, unknown> }

/** What a model that writes as its template does would say, without the end of its turn. */
function written(template: ChatTemplate, content: string, calls: readonly Call[]): string {
  const tool_calls = calls.map((call, i) => ({
    id: `call0000${i}`,
    type: "function",
    function: call,
  }))
  const messages = [
    { role: "user", content: "q" },
    { role: "assistant", content, tool_calls },
  ]
  const { text, spans } = template.renderWithSpans(messages, { tools: schemas })
  return text.slice(spans[0]!.start, spans[0]!.end)
}

/** What Qwen 3 writes before an answer; it is words as any. */
const NO_THOUGHTS = /<think>\s*<\/think>\s*/

const read = (text: string, form: CallForm) => {
  const { content, after, calls } = calledTools(text, form, TOOLS)
  expect(after).toBe("")
  return {
    content: content.replace(NO_THOUGHTS, ""),
    calls: calls.map(({ name, arguments: args }) => ({ name, arguments: JSON.parse(args) })),
  }
}

describe.each(Object.entries(TEMPLATES))("%s", (_, template) => {
  const form = callForm(template)!
  const many = form?.between !== undefined

  test("what the template writes is read back", () => {
    const text = fc
      .oneof(
        fc.constantFrom('a "b" {c} \\', "Zürich", "1", "</x>"),
        fc.string({ unit: "grapheme-ascii" }),
      )
      .map((s) => s.trim())
    const call = fc.record({
      name: fc.constantFrom(...TOOLS.keys()),
      arguments: fc.record(
        { city: text, days: fc.integer(), more: fc.array(fc.oneof(text, fc.boolean())) },
        { requiredKeys: ["days"] },
      ),
    })
    fc.assert(
      fc.property(fc.array(call, { minLength: 1, maxLength: many ? 4 : 1 }), (calls) => {
        const found = read(written(template, "", calls), form)
        expect(found.calls).toEqual(calls)
        expect(found.content).toBe("")
      }),
      { numRuns: 40 },
    )
  })

  test("beside words; a tool that is not there, and half a call, stay words", () => {
    const calls: Call[] = [{ name: "f", arguments: { city: "Rome" } }]
    const said = written(template, "Let me see.", calls)
    const begins = form.open.trim() !== ""
    expect(read(said, form)).toEqual(
      begins
        ? { content: said.includes("Let me see.") ? "Let me see." : "", calls }
        : expect.anything(),
    )
    const foreign = written(template, "", [{ name: "rm", arguments: { city: "/" } }])
    const content = foreign.replace(NO_THOUGHTS, "")
    expect(read(foreign, form)).toEqual({ content, calls: [] })
    const half = written(template, "", calls).slice(0, -8)
    expect(read(half.slice(0, half.indexOf("Rome") + 2), form).calls).toEqual([])
    expect(read("Nothing to call.", form)).toEqual({ content: "Nothing to call.", calls: [] })
  })

  test("what a call begins with is how the template begins it", () => {
    const said = written(template, "", [{ name: "f", arguments: { city: "Rome" } }]).trimStart()
    const squeezed = (text: string) => text.replace(NO_THOUGHTS, "").replace(/\s/g, "")
    for (const begun of [form.begun(), form.begun("f")]) {
      expect(squeezed(said).startsWith(squeezed(begun))).toBe(true)
    }
    // an id that comes first is the model's to write, and the name behind it
    if (!form.begun("f").endsWith('"id":')) expect(form.begun("f")).toMatch(/f/)
  })
})

test("words behind calls are told apart; calls may be opened again", () => {
  const form = callForm(TEMPLATES["objects between tags, like Qwen's"]!)!
  const call = '<tool_call>{"name":"f","arguments":{"days":1}}</tool_call>'
  const { content, after, calls } = calledTools(
    `Look: ${call} ${call}\n\n${call} Done.`,
    form,
    TOOLS,
  )
  expect([content, after]).toEqual(["Look:", "Done."])
  expect(calls).toEqual(Array(3).fill({ name: "f", arguments: '{"days":1}' }))
})

test("a template that writes no calls has no form", () => {
  expect(callForm(own(""))).toBeNull()
})
