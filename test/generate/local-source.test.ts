import { afterAll, describe, expect, test } from "vitest"
import {
  LocalSource,
  type LocalSourceOptions,
  type Sample,
  type SampleRequest,
} from "../../src/generate/index.ts"
import { decoderParameters } from "../../src/models/block/parameters.ts"
import { CachedDecoder } from "../../src/models/decoding/cached-decoder.ts"
import { loadModel } from "../../src/models/files/index.ts"
import { Decoder } from "../../src/models/index.ts"
import { float32 } from "../../src/runtime/index.ts"
import { openDevice } from "../../src/runtime/node.ts"
import {
  families,
  golden,
  HOLDINGS,
  holdings,
  letters,
  MODELS,
  spelled,
  tinyModel,
} from "./tiny-models.ts"

const device = await openDevice({ device: "cpu", threads: 2 })
afterAll(() => device.release())

interface SourceOptions extends Partial<LocalSourceOptions> {
  readonly adapter?: string
  readonly holding?: keyof typeof HOLDINGS
}

async function sourceOf(
  family: string,
  { adapter, holding = "packed", ...options }: SourceOptions = {},
) {
  const model = await HOLDINGS[holding](await tinyModel(device, family, adapter))
  return new LocalSource({
    model,
    tokenizer: letters,
    template: null,
    stopTokenIds: new Set<number>(),
    ...options,
  })
}

async function samplesOf(
  source: LocalSource,
  requests: readonly SampleRequest[],
): Promise<Map<string, Sample>> {
  const found = new Map<string, Sample>()
  for await (const sample of source.sample(requests)) {
    const key = `${sample.requestIndex}.${sample.sampleIndex}`
    expect(found.has(key)).toBe(false)
    found.set(key, sample)
  }
  return found
}

const asked = (prompt: string, more: Partial<SampleRequest> = {}): SampleRequest => ({
  prompt,
  n: 1,
  temperature: 1,
  maxNewTokens: 20,
  seed: 0,
  ...more,
})

describe.each(families)("%s", (family) => {
  const greedy = golden(family).greedy
  test.each(holdings)("greedy continuations are Transformers' (%s)", async (holding) => {
    const source = await sourceOf(family, { holding })
    const requests = greedy.map(({ prompt, token_ids }) =>
      asked(spelled(prompt), { temperature: 0, maxNewTokens: token_ids.length }),
    )
    const found = await samplesOf(source, requests)
    for (const [i, { token_ids }] of greedy.entries()) {
      expect(found.get(`${i}.0`)!.tokenIds).toEqual(token_ids)
      expect(found.get(`${i}.0`)!.finishReason).toBe("length")
    }
    await source.release()
  })

  const adapters = Object.entries(golden(family).adapters ?? {}).flatMap(([adapter, { greedy }]) =>
    holdings.map((holding) => ({ adapter, holding, greedy })),
  )
  test.each(adapters)("with the adapter $adapter they are PEFT's ($holding)", async (case_) => {
    const { greedy, ...options } = case_
    const source = await sourceOf(family, options)
    const { prompt, token_ids } = greedy
    const request = asked(spelled(prompt), { temperature: 0, maxNewTokens: token_ids.length })
    const found = await samplesOf(source, [request])
    expect(found.get("0.0")!.tokenIds).toEqual(token_ids)
    await source.release()
  })
})

describe("what a sample is computed beside changes no bit of it", () => {
  const prompts = ["abc", "the quick brown", "x", "some more words to make it longer than the rest"]

  test.each(["qwen2", "qwen3"])("%s: alone, in a few, in many, in any order", async (family) => {
    const source = await sourceOf(family)
    const requests = prompts.map((prompt, i) =>
      asked(prompt, { n: 3, seed: 10 * i, topP: 0.9, maxNewTokens: 12 + 9 * i }),
    )
    const few = await samplesOf(source, requests)
    // Thirty-odd sequences for sixteen lanes: lanes are left and taken again.
    const crowd = prompts.map((prompt, i) => asked(`${prompt} z`, { n: 7, seed: 900 + i }))
    const many = await samplesOf(source, [...crowd, ...requests.toReversed()])
    for (const [i, request] of requests.entries()) {
      for (let s = 0; s < request.n; s++) {
        const alone = await samplesOf(source, [{ ...request, n: 1, seed: request.seed + s }])
        const { tokenIds, logprobs, completion } = alone.get("0.0")!
        const place = crowd.length + requests.length - 1 - i
        for (const other of [few.get(`${i}.${s}`)!, many.get(`${place}.${s}`)!]) {
          expect(other.tokenIds).toEqual(tokenIds)
          expect(other.logprobs).toEqual(logprobs)
          expect(other.completion).toBe(completion)
          expect(other.seed).toBe(request.seed + s)
        }
      }
    }
    await source.release()
  })
})

test("log-probabilities are those of temperature 1, whatever the temperature", async () => {
  const source = await sourceOf("llama")
  const hot = (await samplesOf(source, [asked("abc", { temperature: 3, seed: 5 })])).get("0.0")!
  const model = await tinyModel(device, "llama")
  const decoder = new CachedDecoder(model)
  const cache = await decoder.newCache(1, 1)
  const prompt = letters.encode("abc")
  for (const [i, id] of hot.tokenIds.entries()) {
    const ids = Int32Array.from([...prompt, ...hot.tokenIds.slice(0, i)])
    const { logits } = await decoder.next(await decoder.prefill(cache, ids), [1])
    const total = logits[0]!.reduce((sum, logit) => sum + Math.exp(logit), 0)
    expect(hot.logprobs[i]).toBeCloseTo(logits[0]![id]! - Math.log(total), 4)
  }
  await source.release()
  await decoder.release()
})

describe("where a completion ends", () => {
  test("any of the stop ids; the id is kept, its text is not", async () => {
    const { prompt, token_ids } = golden("qwen2").greedy[1]!
    const [first, second, third] = token_ids as [number, number, number]
    const stopTokenIds = new Set([third, 63])
    const source = await sourceOf("qwen2", { stopTokenIds })
    const request = asked(spelled(prompt), { temperature: 0, maxNewTokens: 12 })
    const sample = (await samplesOf(source, [request])).get("0.0")!
    expect(sample.tokenIds).toEqual([first, second, third])
    expect(sample.completion).toBe(spelled([first, second]))
    expect(sample.finishReason).toBe("stop")
    expect(sample.logprobs).toHaveLength(3)
    await source.release()
  })

  test("a stop string, also one that spans tokens", async () => {
    const { prompt, token_ids } = golden("qwen2").greedy[1]!
    const source = await sourceOf("qwen2")
    const stop = [spelled(token_ids.slice(2, 4))]
    const shown: string[] = []
    const requests = [asked(spelled(prompt), { temperature: 0, maxNewTokens: 12, stop })]
    for await (const sample of source.sample(requests, { onToken: (t) => shown.push(t.text) })) {
      expect(sample.completion).toBe(spelled(token_ids.slice(0, 2)))
      expect(sample.tokenIds).toEqual(token_ids.slice(0, 4))
      expect(sample.finishReason).toBe("stop")
    }
    expect(shown.join("")).toBe(spelled(token_ids.slice(0, 2)))
    await source.release()
  })

  test("the model's context", async () => {
    const source = await sourceOf("qwen2") // max_position_embeddings: 256
    const long = "ab".repeat(125)
    const sample = (await samplesOf(source, [asked(long, { maxNewTokens: 100 })])).get("0.0")!
    expect(sample.tokenIds).toHaveLength(6)
    expect(sample.finishReason).toBe("length")
    await expect(samplesOf(source, [asked("ab".repeat(128))])).rejects.toThrow(
      /256 tokens; the model's context is 256/,
    )
    // one prompt of many that is too long costs its own samples alone
    const requests = [
      asked("ab", { maxNewTokens: 3 }),
      asked("ab".repeat(128), { n: 2, where: "p.jsonl:2" }),
    ]
    const samples: Sample[] = []
    for await (const one of source.sample(requests, { keepGoing: true })) samples.push(one)
    expect(samples.map(({ requestIndex }) => requestIndex).sort()).toEqual([0, 1, 1])
    expect(samples.filter(({ requestIndex }) => requestIndex === 1)).toMatchObject(
      [0, 1].map((sampleIndex) => ({
        ...{ sampleIndex, completion: "", tokenIds: [], finishReason: "length" },
        error: expect.stringMatching(/^p.jsonl:2 has 256 tokens; the model's context is 256/),
      })),
    )
    await source.release()
  })
})

test("a repetition penalty changes what is drawn, and no log-probability", async () => {
  const source = await sourceOf("qwen2")
  const greedy = asked("abc", { temperature: 0, maxNewTokens: 12 })
  const [plain, one, high] = [
    (await samplesOf(source, [greedy])).get("0.0")!,
    (await samplesOf(source, [{ ...greedy, repetitionPenalty: 1 }])).get("0.0")!,
    (await samplesOf(source, [{ ...greedy, repetitionPenalty: 1e9 }])).get("0.0")!,
  ]
  expect(one.tokenIds).toEqual(plain.tokenIds)
  expect(new Set(high.tokenIds).size).toBe(high.tokenIds.length)
  expect(Math.max(...high.logprobs)).toBeLessThanOrEqual(0)
  await source.release()
})

test("an abort stops between tokens", async () => {
  const source = await sourceOf("qwen2")
  const controller = new AbortController()
  let tokens = 0
  const onToken = () => {
    if (++tokens === 5) controller.abort()
  }
  const run = async () => {
    const options = { signal: controller.signal, onToken }
    for await (const _ of source.sample([asked("abc", { maxNewTokens: 200 })], options));
  }
  await expect(run()).rejects.toThrow(/abort/i)
  expect(tokens).toBe(5)
  await source.release()
})

test("a conversation goes on from what is computed, and says the same", async () => {
  const source = await sourceOf("llama", { continues: true })
  const fresh = await sourceOf("llama")
  let text = "hello"
  for (let turn = 0; turn < 3; turn++) {
    const request = asked(text, { temperature: 0, maxNewTokens: 8, n: 2 })
    const [kept, anew] = [await samplesOf(source, [request]), await samplesOf(fresh, [request])]
    expect(kept.get("0.0")!.tokenIds).toEqual(anew.get("0.0")!.tokenIds)
    expect(kept.get("0.1")!.tokenIds).toEqual(kept.get("0.0")!.tokenIds)
    text += `${kept.get("0.0")!.completion} and then`
  }
  await source.release()
  await fresh.release()
})

test("a model whose weights are not numbers says so instead of sampling", async () => {
  const model = await tinyModel(device, "llama")
  const norm = model.weights.get("model.norm.weight")!.data as Float32Array
  norm[0] = Number.NaN
  const options = { tokenizer: letters, template: null, stopTokenIds: new Set<number>() }
  const source = new LocalSource({ ...options, model })
  await expect(samplesOf(source, [asked("abc")])).rejects.toThrow(
    /no finite numbers after 0 tokens/,
  )
  await source.release()
})

test("a decoder in training is sampled from as it is", async () => {
  const { config, weights } = await loadModel(`${MODELS}llama`)
  const host = new Map(
    decoderParameters(config.shape).map(({ name, shape }) => [
      name,
      float32(shape, weights.get(name)!),
    ]),
  )
  const decoder = await Decoder.open({ device, shape: config.shape, weights: host })
  const options = { tokenizer: letters, template: null, stopTokenIds: new Set<number>() }
  const source = new LocalSource({ model: decoder, ...options })
  const { prompt, token_ids } = golden("llama").greedy[0]!
  const request = asked(spelled(prompt), { temperature: 0, maxNewTokens: token_ids.length })
  expect((await samplesOf(source, [request])).get("0.0")!.tokenIds).toEqual(token_ids)
  // A changed weight changes what is sampled: nothing was copied.
  const norm = decoder.weights.get("model.norm.weight")!.data as Float32Array
  norm.forEach((value, i) => {
    norm[i] = -value
  })
  expect((await samplesOf(source, [request])).get("0.0")!.tokenIds).not.toEqual(token_ids)
  await source.release()
  await decoder.release()
})

test("messages without a template, and nothing at all, are refused", async () => {
  const source = await sourceOf("qwen2")
  const messages = [{ role: "user", content: "hi" }]
  await expect(samplesOf(source, [{ ...asked(""), prompt: messages }])).rejects.toThrow(
    /no chat template/,
  )
  await expect(samplesOf(source, [asked("")])).rejects.toThrow(/prompt is empty/)
  await source.release()
})
