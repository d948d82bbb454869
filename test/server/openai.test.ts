/** The API as OpenAI's own client asks it, against the engine itself. */
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import OpenAI from "openai"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { inspectTokens } from "../../src/evaluate/token-inspection.ts"
import { openGenerator, type SampleRequest } from "../../src/generate/index.ts"
import { openScoredModel, tokenLogprobs } from "../../src/train/scored-model.ts"
import { pythonWith } from "../python-with.ts"
import { DEMO_MODEL, newFolder, serving, writeRun } from "./serving.ts"
import { writeCheckpoint } from "./token-run.ts"

const dir = newFolder()
writeCheckpoint(writeRun(dir, "trained", { result: true, model: DEMO_MODEL }), 20, 1)
writeRun(dir, "begun", { model: DEMO_MODEL })
const { port, token } = await serving({ dir, models: [] })
const client = new OpenAI({ baseURL: `http://127.0.0.1:${port}/v1`, apiKey: token, maxRetries: 0 })

const generator = await openGenerator(DEMO_MODEL, { threads: 2 })
afterAll(() => generator.close())
const PROMPT = "What is 2 + 3?\n"

async function sampled(request: Partial<SampleRequest>) {
  const asked = { prompt: PROMPT, n: 1, temperature: 0, maxNewTokens: 24, seed: 0, ...request }
  const found = []
  for await (const sample of generator.sample([asked])) found.push(sample)
  return found.sort((a, b) => a.sampleIndex - b.sampleIndex)
}
const greedy = { model: "trained", prompt: PROMPT, temperature: 0, max_tokens: 24 }

test("models: the runs that have a result, their checkpoints, what they were trained from", async () => {
  const names = []
  for await (const { id } of client.models.list()) names.push(id)
  expect(names).toEqual(["trained", "trained@20", "model"])
  expect((await client.models.retrieve("trained")).owned_by).toBe("dftune")
})

test("a checkpoint answers by the run's name and its step", async () => {
  const asked = { prompt: PROMPT, temperature: 0, max_tokens: 1, logprobs: 0 }
  const sure = async (model: string) => {
    const { choices } = await client.completions.create({ ...asked, model })
    return choices[0]!.logprobs!.token_logprobs![0]!
  }
  // its final norm, and so its logits, are twice the result's
  expect(await sure("trained@20")).toBeGreaterThan(await sure("trained"))
  await expect(sure("trained@30")).rejects.toMatchObject({ status: 404 })
  await expect(sure("trained/checkpoints/step-000020")).rejects.toMatchObject({ status: 404 })
})

describe("completions", () => {
  test("greedy text is the engine's, whole and streamed", async () => {
    const [sample] = await sampled({})
    const whole = await client.completions.create(greedy)
    expect(whole.choices[0]!.text).toBe(sample!.completion)
    expect(whole.choices[0]!.finish_reason).toBe(sample!.finishReason)
    expect(whole.usage!.completion_tokens).toBe(sample!.tokenIds.length)
    const options = { include_usage: true }
    const stream = await client.completions.create({
      ...greedy,
      stream: true,
      stream_options: options,
    })
    let text = ""
    let finish: string | undefined
    let usage: unknown
    for await (const chunk of stream) {
      text += chunk.choices[0]?.text ?? ""
      finish = chunk.choices[0]?.finish_reason ?? finish
      usage = chunk.usage ?? usage
    }
    expect([text, finish]).toEqual([sample!.completion, sample!.finishReason])
    expect(usage).toEqual(whole.usage)
  })

  test("n, seed, temperature and top_p are those of dftune generate", async () => {
    const samples = await sampled({ n: 3, temperature: 0.9, topP: 0.8, seed: 7 })
    const { choices } = await client.completions.create({
      ...greedy,
      ...{ n: 3, temperature: 0.9, top_p: 0.8, seed: 7 },
    })
    expect(choices.map(({ text }) => text)).toEqual(samples.map((each) => each.completion))
    expect(choices.map(({ index }) => index)).toEqual([0, 1, 2])
  })

  test("several prompts, as texts and as ids", async () => {
    const ids = generator.open.tokenizer.encode(PROMPT)
    const { choices } = await client.completions.create({ ...greedy, prompt: [ids, ids] })
    const one = await client.completions.create({ ...greedy, prompt: ids })
    expect(choices.map(({ text }) => text)).toEqual([one.choices[0]!.text, one.choices[0]!.text])
  })

  test("stop ends the text before it", async () => {
    const { completion } = (await sampled({}))[0]!
    const stop = completion.slice(3, 5)
    const { choices } = await client.completions.create({ ...greedy, stop })
    expect(choices[0]!.text).toBe(completion.slice(0, completion.indexOf(stop)))
    expect(choices[0]!.finish_reason).toBe("stop")
  })

  test("logprobs are the engine's; echo scores the prompt as training does", async () => {
    const [sample] = await sampled({ maxNewTokens: 5 })
    const { choices } = await client.completions.create({
      ...greedy,
      ...{ max_tokens: 5, logprobs: 0, echo: true },
    })
    const { text, logprobs } = choices[0]!
    expect(text).toBe(PROMPT + sample!.completion)
    const scores = logprobs!.token_logprobs!
    const ids = generator.open.tokenizer.encode(PROMPT, { addSpecialTokens: true })
    expect(scores[0]).toBeNull()
    expect(scores.length).toBe(ids.length + sample!.tokenIds.length)
    const scored = await openScoredModel(DEMO_MODEL)
    const expected = [...(await tokenLogprobs(scored, ids)), ...sample!.logprobs]
    await scored.release()
    for (const [i, logprob] of expected.entries()) expect(scores[i + 1]).toBeCloseTo(logprob, 4)
    expect(logprobs!.text_offset!.length).toBe(scores.length)
  })

  test("echo with max_tokens 0 scores alone; the model's own tokens score as when sampled", async () => {
    const [sample] = await sampled({ maxNewTokens: 6 })
    const ids = generator.open.tokenizer.encode(PROMPT, { addSpecialTokens: true })
    const { choices, usage } = await client.completions.create({
      model: "trained",
      prompt: [...ids, ...sample!.tokenIds],
      ...{ max_tokens: 0, echo: true, logprobs: 0 },
    })
    expect(usage!.completion_tokens).toBe(0)
    const scores = choices[0]!.logprobs!.token_logprobs!.slice(ids.length)
    for (const [i, logprob] of sample!.logprobs.entries()) {
      expect(scores[i]).toBeCloseTo(logprob, 4)
    }
  })
})

test("the likeliest tokens stand beside each, of the prompt and of the answer", async () => {
  const [sample] = await sampled({ maxNewTokens: 4 })
  const { choices } = await client.completions.create({
    model: "trained",
    prompt: PROMPT,
    ...{ temperature: 0, max_tokens: 4, logprobs: 3, echo: true },
  })
  const { tokens, token_logprobs, top_logprobs } = choices[0]!.logprobs!
  expect(top_logprobs![0]).toBeNull()
  const scored = await openScoredModel(DEMO_MODEL)
  const ids = generator.open.tokenizer.encode(PROMPT, { addSpecialTokens: true })
  const all = [...ids, ...sample!.tokenIds]
  const inspected = await inspectTokens(scored, all, 3)
  await scored.release()
  for (const [i, { logp, alternatives }] of inspected.entries()) {
    expect(token_logprobs![i + 1]).toBeCloseTo(logp, 4)
    const told = top_logprobs![i + 1]!
    for (const { tokenId, logp: other } of alternatives) {
      expect(told[generator.open.tokenizer.tokenText(tokenId)]).toBeCloseTo(other, 4)
    }
    expect(told[tokens![i + 1]!]).toBeCloseTo(logp, 4)
  }
  // greedy: what was sampled is the likeliest
  for (let i = ids.length; i < all.length; i++) {
    const told = top_logprobs![i]!
    expect(Math.max(...Object.values(told))).toBe(token_logprobs![i])
  }
})

describe("chat", () => {
  const messages = [{ role: "user" as const, content: "What is 2 + 3?" }]
  let expected: string | undefined
  beforeAll(async () => {
    if (generator.open.template) {
      expected = (await sampled({ prompt: messages }))[0]!.completion
    }
  })

  test("through the model's template, whole and streamed; without one it is refused", async () => {
    const asked = { model: "trained", messages, temperature: 0, max_tokens: 24 }
    if (expected === undefined) {
      await expect(client.chat.completions.create(asked)).rejects.toThrow(/no chat template/)
      return
    }
    const whole = await client.chat.completions.create({ ...asked, logprobs: true })
    expect(whole.choices[0]!.message.content).toBe(expected)
    expect(whole.choices[0]!.logprobs!.content!.length).toBe(whole.usage!.completion_tokens)
    const parts = [
      { type: "text" as const, text: "What is " },
      { type: "text" as const, text: "2 + 3?" },
    ]
    const inParts = await client.chat.completions.create({
      ...asked,
      messages: [{ role: "user", content: parts }],
    })
    expect(inParts.choices[0]!.message.content).toBe(expected)
    let text = ""
    for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
      text += chunk.choices[0]?.delta.content ?? ""
    }
    expect(text).toBe(expected)
  })

  test("half an answer is gone on with as the model would have", async () => {
    if (expected === undefined) return
    const half = expected.slice(0, expected.indexOf(".") + 1)
    expect(half.length).toBeGreaterThan(1)
    const said = { role: "assistant" as const, content: half }
    const going = {
      ...{ model: "trained", messages: [...messages, said], temperature: 0, max_tokens: 24 },
      ...{ continue_final_message: true, add_generation_prompt: false },
    }
    const { choices } = await client.chat.completions.create(going)
    const whole = half + choices[0]!.message.content
    expect(whole.slice(0, expected.length)).toBe(expected)
  })
})

const python = pythonWith("openai")
test.skipIf(python === undefined)(
  `OpenAI's Python client is told the same (${python ?? "absent: no Python with openai"})`,
  async () => {
    const script = fileURLToPath(new URL("ask.py", import.meta.url))
    const args = [script, `http://127.0.0.1:${port}/v1`, token, "trained", PROMPT]
    const { stdout } = await promisify(execFile)(python!, args)
    const asked = { ...greedy, max_tokens: 12 }
    const text = (await client.completions.create({ ...asked, logprobs: 0 })).choices[0]!
    const { prompt: content, ...rest } = asked
    const messages = [{ role: "user" as const, content }]
    const chat = (await client.chat.completions.create({ ...rest, messages, logprobs: true }))
      .choices[0]!
    expect(JSON.parse(stdout)).toEqual({
      models: ["trained", "trained@20", "model"],
      text: text.text,
      streamed: text.text,
      logprobs: text.logprobs!.token_logprobs,
      chat: chat.message.content,
      chat_logprobs: chat.logprobs!.content!.map(({ logprob }) => logprob),
      refused: "model_not_found",
    })
  },
)

describe("refusals name the key", () => {
  const context = generator.open.model.shape.maxPositionEmbeddings
  test.each([
    ["more alternatives than OpenAI has", { logprobs: 6 }, /logprobs/],
    ["a key that nobody knows", { temprature: 1 }, /temprature/],
    ["a penalty", { frequency_penalty: 0.5 }, /frequency_penalty/],
    ["too many answers", { n: 65 }, /n:/],
    ["more than the context", { max_tokens: context }, /context is/],
    ["a foreign token", { prompt: [1, 10_000_000] }, /token 10000000/],
    ["a negative temperature", { temperature: -1 }, /temperature/],
    ["nothing to do", { max_tokens: 0 }, /max_tokens/],
    ["a negative token", { prompt: [-1] }, /prompt/],
    ["a broken number", { n: 1.5 }, / n: expected a whole number, got 1\.5$/],
    ["another kind", { stop: 3 }, / stop: expected text or a list, got 3$/],
    ["no prompt", { prompt: undefined }, / prompt: expected text or a list, got nothing$/],
    ["a text for a number", { top_p: "x" }, / top_p: expected a number, got "x"$/],
    ["what a stream alone has", { stream_options: {} }, / stream_options: needs stream: true$/],
  ])("%s", async (_, more, message) => {
    const asked = { ...greedy, ...more } as OpenAI.CompletionCreateParamsNonStreaming
    await expect(client.completions.create(asked)).rejects.toMatchObject({
      status: 400,
      message: expect.stringMatching(message),
    })
  })

  test("inside a message too", async () => {
    const content = [{ type: "image_url" as const, image_url: { url: "http://127.0.0.1/a.png" } }]
    const messages = [{ role: "user" as const, content }]
    const asked = client.chat.completions.create({ model: "trained", messages })
    await expect(asked).rejects.toMatchObject({
      message: /messages\[0\]\.content\[0\]\.type: expected "text", got "image_url"$/,
      param: "messages[0].content[0].type",
    })
  })

  test("a body that is no JSON is told where", async () => {
    const answer = await fetch(`${client.baseURL}/completions`, {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        Authorization: `Bearer ${client.apiKey}`,
      },
      body: '{"model": "trained",}',
    })
    expect(answer.status).toBe(400)
    expect(await answer.json()).toMatchObject({
      error: {
        message:
          "the request's body: expected JSON, got } behind a comma at column 21, where JSON has a key in double quotes",
      },
    })
  })

  test("an unknown model is told which there are", async () => {
    const asked = client.completions.create({ ...greedy, model: "begun" })
    await expect(asked).rejects.toMatchObject({
      status: 404,
      message: /trained, trained@20, model/,
    })
  })
})
