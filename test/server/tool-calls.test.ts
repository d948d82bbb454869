/** Calls of tools as OpenAI's client reads them, from a model whose words are written here. */
import { Hono } from "hono"
import OpenAI from "openai"
import { describe, expect, test } from "vitest"
import type { Sample, SampleOptions, SampleRequest } from "../../src/generate/index.ts"
import { Lanes } from "../../src/server/lanes.ts"
import type { ServedModels } from "../../src/server/models.ts"
import { openAiRoutes } from "../../src/server/openai-routes.ts"
import { errorAnswer } from "../../src/server/refusal.ts"
import { chatTemplate, loadTokenizer } from "../../src/text/index.ts"
import { DEMO_MODEL } from "./serving.ts"

const tokenizer = await loadTokenizer(DEMO_MODEL)

const QWEN = `{% if tools %}tools: {{ tools|tojson }}
{% endif %}{% for m in messages %}{{ m.role }}: {{ m.content }}{% for c in m.tool_calls or [] %}
<tool_call>
{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments|tojson }}}
</tool_call>{% endfor %}
{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}`
const LLAMA = QWEN.replace("<tool_call>\n", "").replace("\n</tool_call>", "")

/** A server whose model says `words`, and what it was asked. */
function saying(words: string, source = QWEN) {
  const asked: string[] = []
  const open = {
    model: { shape: { vocabSize: tokenizer.vocabSize, maxPositionEmbeddings: 10_000 } },
    tokenizer,
    template: chatTemplate({ path: "own", source, tokens: {}, specialTokens: [] }),
    stopTokenIds: new Set([tokenizer.eosTokenId!]),
  }
  async function* sample(requests: readonly SampleRequest[], { onToken }: SampleOptions) {
    const [{ prompt }] = requests as unknown as [{ prompt: { tokenIds: number[] } }]
    asked.push(tokenizer.decode(prompt.tokenIds))
    const place = { requestIndex: 0, sampleIndex: 0 }
    for (const tokenId of [...tokenizer.encode(words), tokenizer.eosTokenId!]) {
      const text = tokenId === tokenizer.eosTokenId ? "" : tokenizer.decode([tokenId])
      onToken?.({ ...place, tokenId, logprob: 0, text })
    }
    yield { ...place, finishReason: "stop" } as Sample
  }
  const lease = { open, source: { sample }, giveBack: async () => {} }
  const models = { find: async () => ({}), lease: async () => lease } as unknown as ServedModels
  const say = (text: string) => expect.unreachable(text)
  const app = new Hono()
    .route("/v1", openAiRoutes({ models, lanes: new Lanes(), say }))
    .onError((error, c) => errorAnswer(error, c, say))
  const client = new OpenAI({
    ...{ baseURL: "http://here/v1", apiKey: "none", maxRetries: 0 },
    fetch: async (url, init) => app.request(url as string, init),
  })
  return { client, asked }
}

const parameters = { type: "object", properties: { city: { type: "string" } } }
const request = {
  model: "m",
  messages: [{ role: "user" as const, content: "Rain?" }],
  tools: ["weather", "time"].map((name) => ({
    type: "function" as const,
    function: { name, parameters },
  })),
}
const call = (city: string) =>
  `<tool_call>\n{"name": "weather", "arguments": {"city": "${city}"}}\n</tool_call>`
const ROME = { name: "weather", arguments: '{"city": "Rome"}' }

async function streamed(client: OpenAI, more: object = {}) {
  const stream = client.chat.completions.stream({ ...request, ...more })
  return (await stream.finalChatCompletion()).choices[0]!
}

describe("whole and streamed", () => {
  test.each([
    ["a call", call("Rome"), null, 1],
    ["words before it", `I look. ${call("Rome")}`, "I look.", 1],
    ["two calls", `${call("Rome")}\n${call("Oslo")}`, null, 2],
  ])("%s", async (_, words, content, calls) => {
    const { client, asked } = saying(words)
    const { choices } = await client.chat.completions.create(request)
    const told = await streamed(client)
    for (const { message, finish_reason } of [choices[0]!, told]) {
      expect(finish_reason).toBe("tool_calls")
      expect(message.content?.trim() || null).toBe(content)
      expect(message.tool_calls).toHaveLength(calls)
      expect(message.tool_calls![0]).toMatchObject({ type: "function", function: ROME })
      expect(message.tool_calls![0]!.id).toMatch(/^call_/)
    }
    expect(asked[0]).toContain('tools: [{"type": "function", "function": {"name": "weather"')
    const one = await client.chat.completions.create({ ...request, parallel_tool_calls: false })
    expect(one.choices[0]!.message.tool_calls).toHaveLength(1)
  })

  test.each([
    ["no call", "It rains < always."],
    ["a tool that is not there", call("Rome").replace("weather", "rm")],
    ["half a call", call("Rome").slice(0, -20)],
  ])("%s is words", async (_, words) => {
    const { client } = saying(words)
    const { choices } = await client.chat.completions.create(request)
    const told = await streamed(client)
    for (const { message, finish_reason } of [choices[0]!, told]) {
      expect([message.content, finish_reason]).toEqual([words, "stop"])
      expect(message.tool_calls ?? []).toEqual([])
    }
  })

  test("calls that nothing opens", async () => {
    const words = '{"name": "weather", "arguments": {"city": "Rome"}}'
    const { client } = saying(words, LLAMA)
    expect((await streamed(client)).message.tool_calls![0]).toMatchObject({ function: ROME })
    const other = saying('{"answer": 1}', LLAMA)
    expect((await streamed(other.client)).message.content).toBe('{"answer": 1}')
  })
})

test("tool_choice: none shows the model no tools, required and a name begin the call", async () => {
  const none = saying(call("Rome"))
  const { choices } = await none.client.chat.completions.create({ ...request, tool_choice: "none" })
  expect(none.asked[0]).not.toContain("weather")
  expect(choices[0]!.message.tool_calls).toBeUndefined()

  const some = saying(' "weather", "arguments": {"city": "Rome"}}\n</tool_call>')
  const required = { tool_choice: "required" as const }
  expect((await streamed(some.client, required)).message.tool_calls).toMatchObject([
    { function: ROME },
  ])
  expect(some.asked[0]).toMatch(/assistant: <tool_call>\n\{"name":$/)

  const named = saying(' {"city": "Rome"}}')
  const choice = { tool_choice: { type: "function" as const, function: { name: "weather" } } }
  expect((await streamed(named.client, choice)).message.tool_calls).toMatchObject([
    { function: ROME },
  ])
  expect(named.asked[0]).toMatch(/<tool_call>\n\{"name": "weather", "arguments":$/)
  const wrong = { tool_choice: { type: "function" as const, function: { name: "rm" } } }
  await expect(streamed(named.client, wrong)).rejects.toThrow(/"rm" is not among the tools/)
})

test("a conversation with calls and results goes back as the template writes it", async () => {
  const { client, asked } = saying("Rain.")
  const messages = [
    ...request.messages,
    {
      role: "assistant" as const,
      content: null,
      tool_calls: [{ id: "call_1", type: "function" as const, function: ROME }],
    },
    { role: "tool" as const, tool_call_id: "call_1", content: "wet" },
  ]
  await client.chat.completions.create({ ...request, messages })
  expect(asked[0]).toContain('"parameters": {"type": "object", "properties": {"city"')
  expect(asked[0]).toContain(`user: Rain?assistant: ${call("Rome")}tool: wetassistant: `)
})

test("a stop text ends an answer, also inside a call", async () => {
  const { client } = saying(`It rains. ${call("Rome")}`)
  const told = await streamed(client, { stop: ["tool_call"] })
  expect([told.message.content, told.finish_reason]).toEqual(["It rains. <", "stop"])
})

test("a template that shows no tools refuses them", async () => {
  const { client } = saying("", "{% for m in messages %}{{ m.content }}{% endfor %}")
  await expect(client.chat.completions.create(request)).rejects.toMatchObject({
    status: 400,
    message: expect.stringMatching(/own: this chat template shows the model no tools/),
  })
})

test("where a template writes no calls, answers stay text, and none can be asked for", async () => {
  const shown = "{{ tools | tojson }}{% for m in messages %}{{ m.content }}{% endfor %}"
  const { client } = saying("weather(Oslo)", shown)
  const { choices } = await client.chat.completions.create(request)
  expect(choices[0]!.message).toMatchObject({ content: "weather(Oslo)" })
  const required = { ...request, tool_choice: "required" as const }
  await expect(client.chat.completions.create(required)).rejects.toMatchObject({
    status: 400,
    message: expect.stringMatching(/tool_choice: own: this chat template writes no calls/),
  })
})

test("vLLM's keys: an unfinished answer is gone on in, a chat may end without a turn begun", async () => {
  const turns = "{% for m in messages %}{{ m.role }}: {{ m.content }};{% endfor %}"
  const prompted = `${turns}{% if add_generation_prompt %}assistant: {% endif %}`
  const { client, asked } = saying(" 5.", prompted)
  const messages = [
    { role: "user" as const, content: "2 + 3?" },
    { role: "assistant" as const, content: "It is" },
  ]
  const ask = (more: object) => client.chat.completions.create({ model: "m", messages, ...more })
  const goOn = { continue_final_message: true, add_generation_prompt: false }
  const { choices } = await ask(goOn)
  expect(choices[0]!.message.content).toBe(" 5.")
  await ask({ continue_final_message: true })
  await ask({ add_generation_prompt: false })
  await ask({ add_generation_prompt: true, continue_final_message: false })
  const chat = "user: 2 + 3?;assistant: It is"
  expect(asked).toEqual([chat, chat, `${chat};`, `${chat};assistant: `])
  await expect(ask({ ...goOn, add_generation_prompt: true })).rejects.toMatchObject({
    status: 400,
    param: "continue_final_message",
  })
  const called = { type: "function", id: "1", function: { name: "f", arguments: "{}" } }
  const calling = { role: "assistant" as const, content: null, tool_calls: [called] }
  await expect(ask({ ...goOn, messages: [calling] })).rejects.toMatchObject({
    status: 400,
    message: expect.stringMatching(/calls tools/),
  })
})
