import { existsSync, readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { Interpreter } from "@huggingface/jinja"
import fc from "fast-check"
import { afterEach, describe, expect, test, vi } from "vitest"
import { InputError } from "../../src/errors.ts"
import { type ChatMessage, type ChatTemplate, chatTemplate } from "../../src/text/index.ts"

const FOLDER = fileURLToPath(new URL("../../../shared/data/chat_templates/", import.meta.url))
const NAMES = existsSync(FOLDER) ? readdirSync(FOLDER).filter((name) => /\.jinja$/.test(name)) : []
if (NAMES.length === 0) console.log("absent: ../shared/data/chat_templates; not tried")

interface Pair {
  /** Remembers what it makes of a structure. */
  readonly quick: ChatTemplate
  /** Interprets each chat: the judge. */
  readonly slow: ChatTemplate
}

function pairOf(source: string): Pair {
  const parts = {
    path: "template",
    source,
    tokens: { bos_token: "<s>", eos_token: "</s>" },
    specialTokens: ["<|im_end|>", "<|eot_id|>", "</s>", "<end_of_turn>", "<|end|>", "<|EOT|>"],
  }
  return { quick: chatTemplate(parts), slow: chatTemplate({ ...parts, remember: false }) }
}

/** What came of it: a value, or the refusal's own words. */
function outcome<T>(work: () => T): T | string {
  try {
    return work()
  } catch (error) {
    if (error instanceof InputError) return error.message
    throw error
  }
}

function expectSame({ quick, slow }: Pair, messages: readonly ChatMessage[]): void {
  for (const addGenerationPrompt of [false, true]) {
    const render = (template: ChatTemplate) =>
      outcome(() => template.render(messages, { addGenerationPrompt }))
    expect(render(quick)).toEqual(render(slow))
  }
  const spans = (template: ChatTemplate) => outcome(() => template.renderWithSpans(messages))
  expect(spans(quick)).toEqual(spans(slow))
}

/** Texts that templates look into, that look like templates, or like our own marks. */
const text = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 12 }),
  fc.constantFrom(
    ...["", " ", "\n a \n", "x", "xy", "</think>", "<think>\nhmm\n</think>\n\nfour", "a</think>b"],
    ...[
      "<tool_response>x</tool_response>",
      "{{ 1 }}",
      "{% raw %}",
      "assistant",
      "user",
      "<|im_end|>",
    ],
    ...[
      "\uE0F40\uE0F5",
      "\uE0F4",
      "\uE0F2stand\uE0F3in\uE0F2",
      "$&",
      "a\nb\nc",
      "True",
      "0",
      "None",
    ],
  ),
)
const message: fc.Arbitrary<ChatMessage> = fc.record(
  {
    role: fc.constantFrom("user", "user", "assistant", "assistant", "system", "tool", "model"),
    content: text,
    reasoning_content: fc.option(text),
    name: text,
    tool_calls: fc.constantFrom(null, [], [{ function: { name: "f", arguments: { a: 1 } } }]),
    flag: fc.boolean(),
  },
  { requiredKeys: ["role", "content"] },
)
/** Mostly chats as they are, so that what was remembered is used; some of any kind. */
const chat = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.array(fc.tuple(text, text), { minLength: 1, maxLength: 3 }).map((turns) =>
      turns.flatMap(([content, answer]) => [
        { role: "user", content },
        { role: "assistant", content: answer },
      ]),
    ),
  },
  { weight: 2, arbitrary: fc.array(message, { maxLength: 5 }) },
)

describe.runIf(NAMES.length > 0)("as interpreted each time", () => {
  test.each(NAMES)("%s", (name) => {
    const pair = pairOf(readFileSync(FOLDER + name, "utf8"))
    fc.assert(
      fc.property(chat, (messages) => expectSame(pair, messages)),
      { numRuns: 60 },
    )
  })
})

/** Bodies of a loop over the messages that look into texts in every way that Jinja has. */
const BODIES = [
  "{{ m.content }}",
  "{{ m['content'] | trim }}|",
  "{{ m.content.strip() + '/' + m.content.lstrip() ~ m.content.rstrip('x') }}",
  "{{ (m.role ~ m.content) | trim | upper }}",
  "{{ m.content | length }}",
  "{{ m.content[0] }}{{ m.content[1:] }}",
  "{{ m | tojson }}",
  "{{ m.content | tojson }}",
  "{{ m.content | indent }}",
  "{{ m.content | default('none') }}{{ m.nothing | default(m.content) }}",
  "{{ m.content | default('empty', true) }}",
  "{% if m.content %}+{% else %}-{% endif %}",
  "{% if not m.content %}!{% endif %}{{ m.content or 'nothing' }}{{ m.content and 'more' }}",
  "{% if 'x' in m.content %}has x: {{ m.content.split('x')[-1] }}{% endif %}",
  "{% if m.content in 'xyz' %}inside{% endif %}{% if m.content not in ['x', ''] %}out{% endif %}",
  "{% if m.content == 'x' or m.content != messages[0].content %}other{% endif %}",
  "{% if m.content == none or m.content == 0 or m.content == missing %}loose{% endif %}",
  "{% for part in m.content.split('\\n') %}[{{ part }}]{% endfor %}",
  "{% for part in m.content.split() %}<{{ loop.index }}{{ part | trim }}>{% endfor %}",
  "{% if m.content.startswith('<t') and m.content.endswith('>') %}tool{% endif %}",
  "{% if m.content.startswith(('a', 'x')) %}a or x{% endif %}",
  "{{ m.content.replace('x', m.role) }}{{ m.content | replace('a', 'b') }}",
  "{{ m.content.replace(m.content, 'all') }}{{ messages[0].content.replace('x', m.content) }}",
  "{% if m.content is string and m.content is not none and m.content is defined %}s{% endif %}",
  "{% if m.content is upper %}U{% endif %}{{ m.content.upper() | lower | title | capitalize }}",
  "{% set c = m.content %}{% set c = c + c %}{{ c }}{% set c %}({{ c }}){% endset %}{{ c | trim }}",
  "{% set ns = namespace(all='') %}{% for n in messages %}{% set ns.all = ns.all + n.content %}{% endfor %}{{ ns.all }}",
  "{% macro said(t, by='x') %}{{ by }}: {{ t | trim }};{% endmacro %}{{ said(m.content) }}{{ said(m.content, by=m.role) }}",
  "{% filter upper %}{{ m.content }}{% endfilter %}",
  "{{ messages | map(attribute='content') | join('+') }}",
  "{{ messages | map(attribute='content') | list | length }}{{ (messages | last).content }}",
  "{% for n in messages if n.content != 'x' %}{{ n.content }}{% else %}none{% endfor %}",
  "{{ messages | selectattr('content', 'equalto', 'x') | list | length }}",
  "{{ messages | selectattr('content') | list | length }}",
  "{% if loop.previtem is defined %}{{ loop.previtem.content }}{% endif %}",
  "{% for n in messages %}{% if n.content == 'x' %}{% break %}{% endif %}{{ n.content }}{% endfor %}",
  "{% for n in messages %}{% if not n.content %}{% continue %}{% endif %}{{ n.role }}{% endfor %}",
  "{% for key, value in m.items() %}{{ key }}={{ value }},{% endfor %}",
  "{% for key in m %}{{ key }}{% endfor %}{{ m.get('content') }}{{ 'content' in m }}",
  "{{ {'x': 'y'}[m.content] }}{{ {'k': m.content}.k }}{{ [m.content, m.role][0] }}",
  "{{ m.content | int }}{{ m.content | float }}{{ m.content ~ 1 }}{{ 'a' + m.content }}",
  "{{ m.content if m.content | trim else 'blank' }}",
  "{% if m.content == 'x' %}{{ raise_exception('no x') }}{% endif %}",
  "{% if m.content %}{{ raise_exception('said ' + m.content) }}{% endif %}",
  "{{ m.content.nothing() }}",
  "\uE0F40\uE0F5{{ m.content }}\uE0F4",
  "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}",
  "{{ m.reasoning_content }}{{ m.name }}{{ m.flag }}{{ (m.tool_calls or []) | length }}",
  "{% call(t) shown(m) %}{{ t }}{% endcall %}",
]
const PRELUDE = "{% macro shown(m) %}<{{ caller(m.content) }}>{% endmacro %}"
const loop = (bodies: readonly string[]) =>
  `${PRELUDE}{% for m in messages %}<|{{ m.role }}|>${bodies.join("")}\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}`

describe("templates that look into texts", () => {
  test.each(BODIES)("%s", (body) => {
    const pair = pairOf(loop([body]))
    fc.assert(
      fc.property(chat, (messages) => expectSame(pair, messages)),
      { numRuns: 50 },
    )
  })

  test("any of them together", () => {
    const bodies = fc.array(fc.constantFrom(...BODIES), { minLength: 1, maxLength: 4 })
    fc.assert(
      fc.property(bodies, fc.array(chat, { minLength: 2, maxLength: 6 }), (parts, chats) => {
        const pair = pairOf(loop(parts))
        for (const messages of chats) expectSame(pair, messages)
        for (const messages of chats) expectSame(pair, messages)
      }),
      { numRuns: 60 },
    )
  })

  test("texts that grow without end, or are wrapped without end, are not followed for ever", () => {
    const growing =
      "{% set ns = namespace(c=m.content) %}{% for i in range(18) %}{% set ns.c = ns.c + ns.c %}{% endfor %}{{ ns.c | trim }}"
    const wrapped =
      "{% set ns = namespace(c=m.content) %}{% for i in range(300) %}{% set ns.c = ns.c | trim %}{% endfor %}{{ ns.c }}"
    const asked =
      "{% for i in range(3000) %}{% if m.content == i ~ 'x' %}{{ i }}{% endif %}{% endfor %}"
    for (const body of [growing, wrapped, asked]) {
      const pair = pairOf(loop([body]))
      for (const content of ["7x", " y "]) expectSame(pair, [{ role: "user", content }])
    }
  })
})

const said = (i: number): ChatMessage[] => [
  { role: "user", content: `question ${i}` },
  { role: "assistant", content: `answer ${i}` },
]

/** How often the library runs a template while chats of one structure are rendered. */
function runsFor(source: string, chats: readonly (readonly ChatMessage[])[]): number {
  const { quick } = pairOf(source)
  const run = vi.spyOn(Interpreter.prototype, "run")
  for (const messages of chats) quick.render(messages)
  const runs = run.mock.calls.length
  run.mockRestore()
  return runs
}

describe("the template runs", () => {
  afterEach(() => void vi.restoreAllMocks())
  const chats = Array.from({ length: 100 }, (_, i) => said(i))

  test("once for a hundred chats of one structure", () => {
    expect(runsFor(loop(["{{ m.content | trim }}"]), chats)).toBe(1)
    const other = [{ role: "system", content: "s" }, ...said(0)]
    expect(runsFor(loop(["{{ m.content }}"]), [...chats, other, other])).toBe(2)
  })

  test("once for each answer to what it asks of a text", () => {
    const asks = loop(["{% if '7' in m.content %}seven{% endif %}{{ m.content }}"])
    expect(runsFor(asks, chats)).toBe(2) // 7, 17, ... in both messages, or in none
  })

  test("for each chat where it reads a text itself", () => {
    expect(runsFor(loop(["{{ m.content | length }}"]), chats)).toBe(100)
    expect(runsFor(loop(["{{ m | tojson }}"]), chats)).toBe(100)
    // another 200 are the clock's own
    expect(runsFor(loop(["{{ strftime_now('%Y') }}{{ m.content }}"]), chats)).toBe(300)
  })

  test("for each chat with tool calls, and for each that is given tools", () => {
    const calls = chats.map(([user, answer]) => [user!, { ...answer!, tool_calls: [{ id: "1" }] }])
    expect(runsFor(loop(["{{ m.content }}"]), calls)).toBe(100)
    const nothing = chats.map(([user, answer]) => [user!, { ...answer!, tool_calls: null }])
    expect(runsFor(loop(["{{ m.content }}"]), nothing)).toBe(1)
  })

  test("again where the answers are too many to remember", () => {
    const asks = Array.from({ length: 7 }, (_, i) => `{{ '${i}' in m.content }}`)
    const runs = runsFor(loop(asks), chats)
    expect(runs).toBeGreaterThan(16)
    expect(runs).toBeLessThan(100)
  })

  test("once for a refusal, which is said again to the next", () => {
    const refuses = loop(["{% if m.role == 'assistant' %}{{ raise_exception('no') }}{% endif %}"])
    const { quick } = pairOf(refuses)
    const run = vi.spyOn(Interpreter.prototype, "run")
    for (const messages of chats) expect(() => quick.render(messages)).toThrow(/template.*: no$/)
    expect(run).toHaveBeenCalledTimes(1)
  })
})

test("what is remembered of a structure keeps none of the chat that it was found on", () => {
  setFlagsFromString("--expose-gc")
  const collect: () => void = runInNewContext("gc")
  const { quick } = pairOf(
    loop([
      "{% if '</think>' in m.content %}{{ m.content.split('</think>')[-1] | trim }}{% endif %}",
      "{% if m.content %}{{ m.content | trim }}{{ m.content.upper() }}{{ m.content | indent }}{% endif %}",
      "{{ m.content.replace('a', 'b') }}{{ m.role + m.content }}{{ m.content == 'x' }}",
    ]),
  )
  const structures = 40
  const megabyte = 1 << 20
  collect()
  const before = process.memoryUsage().heapUsed
  for (let i = 0; i < structures; i++) {
    const content = `${i}${"x".repeat(megabyte)}`
    quick.render([{ role: "user", content, [`key${i}`]: "" }])
  }
  collect()
  expect(process.memoryUsage().heapUsed - before).toBeLessThan((structures * megabyte) / 2)
})

test("what a rendering depends on beside the messages is never mixed up", () => {
  const { quick, slow } = pairOf(loop(["{{ m.content }}{{ date }}{{ tools }}"]))
  const messages = said(1)
  for (const options of [
    {},
    { variables: { date: "1" } },
    { variables: { date: "2" } },
    { variables: { date: true } },
    { variables: { date: null } },
    { variables: { date: 3 } },
    { variables: { date: { day: 4 } } },
    { tools: [{ name: "f" }] },
    { tools: null },
  ]) {
    for (let twice = 0; twice < 2; twice++) {
      expect(quick.render(messages, options)).toBe(slow.render(messages, options))
    }
  }
})

test("structures that would be written alike are told apart", () => {
  const pair = pairOf("{% for m in messages %}{{ m.role }}({{ m.content }}){{ m.a }}{% endfor %}")
  const role = (role: string, more: object = {}) => ({ role, content: "c", ...more })
  for (const messages of [
    [role("user"), role("user")],
    [role("user|4:role4:user7:content")],
    [role("4:user"), role("1:u")],
    [role("u", { a: null })],
    [role("u", { a: "null" })],
    [role("u", { a: true })],
    [role("u", { "1:a": "x" })],
    [{ content: "c", role: "u" }],
  ]) {
    expectSame(pair, messages)
    expectSame(pair, messages)
  }
})
