import { readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, expect, test } from "vitest"
import { parseConfig } from "../../../src/config/index.ts"
import { programKeys } from "../../../src/config/run-record.ts"
import type { DataPrompt } from "../../../src/data/prompts.ts"
import type { PromptTokens, Sample, SampleSource } from "../../../src/generate/sample-source.ts"
import { loadChatTemplate, loadTokenizer } from "../../../src/text/index.ts"
import { environmentSource } from "../../../src/train/rollouts/environment.ts"
import { rolloutsOf, stepsOf, tinyRollouts, withoutTime } from "./tiny-rollouts.ts"

const { root, run, settings } = tinyRollouts()
afterAll(() => rmSync(root, { recursive: true, force: true }))

// every turn ends with </s>; a sample of one character ends often enough
const TEMPLATE =
  "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}a:{% endif %}"
writeFileSync(join(root, "chat.jinja"), TEMPLATE)
const rows = Array.from({ length: 6 }, (_, i) =>
  JSON.stringify({ messages: [{ role: "user", content: `say ${i}` }], turns: 2 + (i % 2) }),
)
writeFileSync(join(root, "chats.jsonl"), `${rows.join("\n")}\n`)
const module = join(root, "environment.mjs")
writeFileSync(
  module,
  `export default ({ messages, row, turn, completion }) =>
  turn >= row.turns ? null : { role: "user", content: "more " + completion.length }
export const odd = () => 5
export const own = () => ({ role: "assistant", content: "mine" })
`,
)
const reward = join(root, "chat-reward.mjs")
writeFileSync(
  reward,
  "export default ({ messages, completion }) => messages.length + completion.length / 1e6\n",
)
const more = {
  data: { train: [join(root, "chats.jsonl")], template: join(root, "chat.jinja"), max_length: 120 },
  max_steps: 3,
  save_steps: 2,
}
// a first token that ends: hot enough that every token is as likely as any other
const rollout = {
  ...{ environment: { module, max_turns: 3 }, rewards: [{ module: reward }], keep: "all" },
  ...{ max_new_tokens: 96, num_generations: 8, temperature: 3, filter_groups: "none" },
}

test("what the environment says stands between answers and is no part of what is trained", async () => {
  const events = await run("talk", { ...more, batch_size: 16, rollout })
  expect(stepsOf(events)).toHaveLength(3)
  const rollouts = rolloutsOf(events)
  expect(rollouts.some(({ turns }) => turns !== undefined && turns.max > 1)).toBe(true)
  for (const { logp_difference } of rollouts) expect(logp_difference!.max).toBeLessThan(1e-3)
  const told = readFileSync(join(root, "talk", "rollouts.jsonl"), "utf8")
    .trim()
    .split("\n")
  const samples = told.map((line) => JSON.parse(line))
  const talked = samples.filter(({ context }) => context !== undefined)
  expect(talked.length).toBeGreaterThan(0)
  for (const { context, token_ids, logprobs, reward } of talked) {
    const strange = context.reduce((sum: number, [a, b]: number[]) => sum + b! - a!, 0)
    expect(token_ids.length - strange).toBe(logprobs.length)
    for (const [start] of context) expect(token_ids[start - 1]).toBe(2) // the end of an answer
    expect(Math.floor(reward)).toBe(2 * (context.length + 1)) // the whole chat is rewarded
  }
  // trained are the sampled tokens alone
  const sampled = rollouts.reduce((sum, { tokens }) => sum + tokens, 0)
  expect(stepsOf(events).at(-1)!.supervised_tokens).toBe(sampled)
})

test("a resumed run talks as the whole one did", async () => {
  const all = { ...more, batch_size: 16, rollout: { ...rollout, num_iterations: 3 } }
  const whole = await run("whole", all)
  const stop = new AbortController()
  const onEvent = ({ type, step }: { type: string; step: number }) =>
    type === "step" && step === 2 && stop.abort()
  await run("stopped", all, onEvent, stop.signal)
  expect(withoutTime(await run("stopped", { ...all, resume: true }))).toEqual(withoutTime(whole))
})

test("what is no message, a prompt without a template and a text that ends are refused", async () => {
  const odd = { ...rollout, environment: { module, export: "odd" } }
  await expect(run("odd", { ...more, batch_size: 16, rollout: odd })).rejects.toThrow(
    /environment.mjs: for .*chats.jsonl:\d: expected a message .* or null, got/,
  )
  const own = { ...rollout, environment: { module, export: "own" } }
  await expect(run("own", { ...more, batch_size: 16, rollout: own })).rejects.toThrow(
    /a message with the role "assistant" is the model's own to say/,
  )
  const bare = { ...more, data: { train: [join(root, "prompts.jsonl")], max_length: 120 } }
  await expect(run("bare", { ...bare, batch_size: 16, rollout })).rejects.toThrow(
    /rollout.environment talks in messages, and this prompt is a text/,
  )
  const given = { ...more, batch_size: 16, rollout: { ...rollout, stop: ["x"] } }
  expect(() => parseConfig(settings("stop", given))).toThrow(/rollout.stop: a turn ends with a tok/)
  const config = parseConfig(settings("keys", { ...more, batch_size: 16, rollout }))
  expect(programKeys(config).map(({ key }) => key)).toContain("rollout.environment.module")
})

const HERMES = `{% for m in messages %}{{ m.role[0] }}:{{ m.content }}{% for c in m.tool_calls or [] %}<tool_call>
{{ {"name": c.function.name, "arguments": c.function.arguments} | tojson }}
</tool_call>{% endfor %}<|end|>{% endfor %}{% if add_generation_prompt %}a:{% endif %}`

test("an environment gets the tools that are called, as the template writes calls, and may answer each", async () => {
  const heard: unknown[] = []
  const answers = join(root, "tools.mjs")
  writeFileSync(
    answers,
    `export default ({ tool_calls, messages, completion }) =>
  tool_calls.length === 0 ? null : [
    ...tool_calls.map(({ id, name, arguments: given }) => ({ role: "tool", tool_call_id: id, content: name + JSON.stringify(given) })),
    { role: "user", content: JSON.stringify({ said: messages.at(-1), completion }) },
  ]
`,
  )
  writeFileSync(join(root, "hermes.jinja"), HERMES)
  const tokenizer = await loadTokenizer(
    fileURLToPath(new URL("../../../demo/model", import.meta.url)),
  )
  const end = tokenizer.encode("<|end|>")[0]!
  const stopIds = new Set([end])
  const template = await loadChatTemplate(root, { file: join(root, "hermes.jinja") })
  const tools = [{ type: "function", function: { name: "add", parameters: {} } }]
  const messages = [{ role: "user", content: "two and two" }]
  const prompt = {
    tokenIds: Int32Array.of(1, 5),
    where: "a:1",
    row: {},
    asked: { messages, tools },
  }
  const called = 'so <tool_call>\n{"name": "add", "arguments": {"a": [2, 2]}}\n</tool_call>'
  const said = [called, "four"]
  const source: SampleSource = {
    async *sample(requests) {
      for (const [requestIndex, { prompt }] of requests.entries()) {
        heard.push(tokenizer.decode([...(prompt as PromptTokens).tokenIds].slice(2)))
        const completion = said.shift()!
        const tokenIds = [...tokenizer.encode(completion), end]
        const logprobs = tokenIds.map(() => -1)
        yield {
          ...{ requestIndex, sampleIndex: 0, completion, tokenIds, logprobs, seed: 0 },
          finishReason: "stop",
        }
      }
    },
  }
  const talks = environmentSource({
    ...{
      source,
      tokenizer,
      template,
      stopIds,
      maxNewTokens: 4096,
      prompts: [prompt as DataPrompt],
    },
    settings: { module: answers, export: "default", timeout: 10, max_turns: 3 },
  })
  const request = { prompt: { tokenIds: [1, 5] }, n: 1, temperature: 1, seed: 1, where: "a:1" }
  const found: Sample[] = []
  try {
    for await (const sample of talks.sample([{ ...request, maxNewTokens: 4096 }]))
      found.push(sample)
  } finally {
    await talks.close()
  }
  const [, call, result, told, last] = found[0]!.messages!
  const add = { name: "add", arguments: { a: [2, 2] } }
  const tool_calls = [{ id: "call00000", type: "function", function: add }]
  expect(call).toEqual({ role: "assistant", content: "so", tool_calls })
  expect(result).toMatchObject({ role: "tool", content: 'add{"a":[2,2]}' })
  expect(JSON.parse(told!.content)).toEqual({ said: call, completion: called })
  expect(last).toEqual({ role: "assistant", content: "four" })
  // what the model wrote stays as it was sampled, and what was said stands behind it
  expect(heard[1]).toContain(`${called}<|end|>t:add`)
})
