import { expect, test } from "vitest"
import { previewed } from "./previewed.ts"

const user = { role: "user", content: "Weather in Paris?" }
const call = { name: "get_weather", arguments: { city: "Paris", days: 3 } }
const wrapped = { type: "function", function: call }
const calling = { messages: [user, { role: "assistant", content: "", tool_calls: [wrapped] }] }

/** Writes calls as Qwen does, and tools. */
const WRITES =
  "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}{% endfor %}<|im_end|>\n{% endif %}" +
  "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}" +
  '{% for c in m.tool_calls or [] %}<call>{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}</call>{% endfor %}' +
  "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
/** Takes arguments as text only. */
const TEXT_ARGUMENTS = WRITES.replace("c.function.arguments | tojson", "'' + c.function.arguments")
/** Knows calls without `function` around them. */
const FLAT = WRITES.replaceAll("c.function.", "c.")
const TOOL = { type: "function", function: { name: "get_weather", parameters: {} } }

const CALLED =
  '<|im_start|>assistant\n⟦<call>{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}</call><|im_end|>⟧\n'

test.each([
  ["Transformers' form", wrapped],
  [
    "OpenAI's",
    { id: "1", ...wrapped, function: { ...call, arguments: JSON.stringify(call.arguments) } },
  ],
  ["without function around it", call],
])("a call in %s is written", async (_, given) => {
  const row = { messages: [user, { role: "assistant", content: null, tool_calls: [given] }] }
  const { marked, codes } = await previewed([row], { template: WRITES })
  expect(marked[0]).toContain(CALLED)
  expect(codes).not.toContain("dropped-tool-call")
  expect(codes).not.toContain("text-arguments")
})

test.each([
  [
    "function_call, the legacy key",
    {
      messages: [
        user,
        {
          role: "assistant",
          content: null,
          function_call: { name: call.name, arguments: JSON.stringify(call.arguments) },
        },
      ],
    },
  ],
  [
    "all calls as text",
    { messages: [user, { role: "assistant", content: "", tool_calls: JSON.stringify([wrapped]) }] },
  ],
  [
    "sharegpt's function_call",
    {
      conversations: [
        { from: "human", value: user.content },
        { from: "function_call", value: JSON.stringify(call) },
      ],
    },
  ],
  [
    "ms-swift's tool_call",
    { messages: [user, { role: "tool_call", content: JSON.stringify(call) }] },
  ],
  [
    "LLaMA-Factory's parts",
    {
      messages: [
        user,
        { role: "assistant", content: [{ type: "tool_call", value: JSON.stringify(call) }] },
      ],
    },
  ],
])("%s becomes the assistant's call", async (_, row) => {
  const { marked } = await previewed([row], { template: WRITES })
  expect(marked[0]).toContain(CALLED)
})

test.each([
  ["as text", TEXT_ARGUMENTS],
  ["flat", FLAT],
])("a template that reads calls %s gets them so", async (_, template) => {
  const { marked, codes } = await previewed([calling], { template })
  expect(marked[0]).toContain("get_weather")
  expect(marked[0]).toContain('{"city": "Paris", "days": 3}')
  expect(codes).not.toContain("dropped-tool-call")
})

test("a call, one of its arguments, or tools that the template leaves out are said", async () => {
  expect((await previewed([calling])).codes).toContain("dropped-tool-call")
  const nameOnly = WRITES.replace("{{ c.function.arguments | tojson }}", "{}")
  expect((await previewed([calling], { template: nameOnly })).codes).toContain("dropped-tool-call")
  const oneArgument = WRITES.replace("c.function.arguments | tojson", "c.function.arguments.days")
  expect((await previewed([calling], { template: oneArgument })).codes).toContain(
    "dropped-tool-call",
  )
  const tools = { ...calling, tools: [TOOL] }
  expect((await previewed([tools])).codes).toContain("dropped-tools")
  expect((await previewed([tools], { template: WRITES })).codes).not.toContain("dropped-tools")
})

test.each([
  ["a list", [TOOL]],
  ["JSON text", JSON.stringify([TOOL])],
  ["texts", [JSON.stringify(TOOL)]],
  ["bare functions", [TOOL.function]],
])("tools come as %s", async (_, tools) => {
  const { marked, codes } = await previewed([{ ...calling, tools }], { template: WRITES })
  expect(marked[0]).toContain(
    '{"type": "function", "function": {"name": "get_weather", "parameters": {}}}',
  )
  expect(codes).not.toContain("unused-keys")
  const legacy = await previewed([{ ...calling, functions: tools }], { template: WRITES })
  expect(legacy.marked).toEqual(marked)
})

test("a call's arguments that are no object are said", async () => {
  const given = { ...wrapped, function: { ...call, arguments: "Paris, please" } }
  const row = { messages: [user, { role: "assistant", content: "", tool_calls: [given] }] }
  expect((await previewed([row], { template: WRITES })).codes).toContain("text-arguments")
})

test("the result that a template writes in the caller's turn is not the assistant's words", async () => {
  const template =
    "{% for m in messages %}{% if m.role != 'tool' %}<|im_start|>{{ m.role }}\n{{ m.content }}" +
    "{% for c in m.tool_calls or [] %}<call>{{ c.function.name }} {{ c.function.arguments | tojson }}</call>{% endfor %}" +
    "{% if m.tool_calls %}{% for t in messages if t.role == 'tool' %}<result>{{ t.content }}</result>{% endfor %}{% endif %}" +
    "<|im_end|>\n{% endif %}{% endfor %}"
  for (const content of ["twenty-one degrees", "3", "Paris"]) {
    const row = { messages: [...calling.messages, { role: "tool", content }] }
    const { marked } = await previewed([row], { template })
    expect(marked[0]).toContain('⟦<call>get_weather {"city": "Paris", "days": 3}</call>')
    expect(marked[0]).toContain(`⟧<result>${content}</result>⟦`)
  }
})

test.each(["reasoning_content", "reasoning", "thinking"])(
  "%s that is not written is said",
  async (key) => {
    const row = { messages: [user, { role: "assistant", content: "Sunny.", [key]: "It is June." }] }
    expect((await previewed([row])).codes).toContain("dropped-reasoning")
    const template =
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    const { marked, codes } = await previewed([row], { template })
    expect(marked[0]).toContain("⟦<think>It is June.</think>Sunny.")
    expect(codes).not.toContain("dropped-reasoning")
  },
)

test("a thought that the template cuts out of the content is said", async () => {
  const template =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1] }}<|im_end|>\n{% endfor %}"
  const row = {
    messages: [user, { role: "assistant", content: "<think>It is June.</think>Sunny." }],
  }
  expect((await previewed([row], { template })).codes).toContain("dropped-reasoning")
})

test("a message that is left out is noticed though its words occur elsewhere", async () => {
  const template =
    "{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
  for (const content of ["Hi", "user", "Be brief."]) {
    const messages = [
      { role: "system", content },
      { role: "user", content: "Hi there" },
      { role: "assistant", content: "Hello" },
    ]
    expect((await previewed([{ messages }], { template })).codes).toContain("dropped-role")
    expect((await previewed([{ messages }])).codes).not.toContain("dropped-role")
  }
})

test("unused keys are said once for a source", async () => {
  const rows = [1, 2, 3].map((id) => ({
    prompt: "q",
    completion: `a${id}`,
    id,
    hint: "use fingers",
    empty: [],
    none: null,
  }))
  const { lints } = await previewed(rows)
  expect(lints.filter(({ code }) => code === "unused-keys")).toMatchObject([
    {
      message: expect.stringMatching(/2 keys of its rows are not used: id \(3\), hint \(3\)$/),
      count: 3,
    },
  ])
})

test("so are keys of messages that the template does not name", async () => {
  const messages = [
    { role: "user", content: "Hi", name: "bob", mask: null, id: 4 },
    { role: "assistant", content: "Hello", mask: true, reasoning_details: [{ text: "r" }] },
  ]
  const template =
    "{% for m in messages %}{{ m.role }}:{{ m.name }}{{ m.content }}<end>{% endfor %}"
  const unused = async (options: object) => {
    const { lints } = await previewed([{ messages }], options)
    return lints.find(({ code }) => code === "unused-keys")?.message
  }
  expect(await unused({ template })).toMatch(
    /2 keys of its rows are not used: messages\[\].mask \(1\), messages\[\].reasoning_details \(1\)$/,
  )
  expect(
    await unused({ template: template.replace("m.name", "m.mask or m.reasoning_details") }),
  ).toMatch(/a key of its rows is not used: messages\[\].name \(1\)$/)
})

test("a call with an integer past 2^53, a whole float or keys like numbers is written as it is", async () => {
  const given = '{"id": 1234567890123456789, "in": [9007199254740993, 2.0], "10": 1, "2": 1e22}'
  const template =
    "{% for m in messages %}{{ m.role }}:{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.arguments|tojson }}{% endfor %}<end>{% endfor %}"
  const call = { function: { name: "f", arguments: given } }
  const messages = [
    { role: "user", content: "q" },
    { role: "assistant", content: "", tool_calls: [call] },
  ]
  const { marked } = await previewed([{ messages }], { template })
  const text = `user:q<end>assistant:⟦${given.replace("1e22", "1e+22")}<end>⟧`
  expect(marked).toEqual([text])
})
