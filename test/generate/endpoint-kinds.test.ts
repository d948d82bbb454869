import { createServer, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { afterEach, expect, test } from "vitest"
import {
  EndpointSource,
  type Sample,
  type SampleRequest,
  UnansweredCount,
} from "../../src/generate/index.ts"
import { retryAfter } from "../../src/host/patience.ts"

/** Answers that servers give and that must not end a job of thousands. */

const servers: ReturnType<typeof createServer>[] = []
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    server.close()
  }
})

type Body = Readonly<Record<string, unknown>>

async function serve(respond: (body: Body, response: ServerResponse) => void) {
  const received: Body[] = []
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    const body = JSON.parse(Buffer.concat(parts).toString()) as Body
    received.push(body)
    respond(body, response)
  })
  servers.push(server)
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, received }
}

function answer(response: ServerResponse, body: unknown, status = 200): void {
  response.writeHead(status, { "content-type": "application/json" })
  response.end(JSON.stringify(body))
}
const text = (said: string, finish_reason: unknown = "stop") => ({
  choices: [{ index: 0, text: said, finish_reason }],
})
const chat = (message: object, finish_reason: unknown = "stop") => ({
  choices: [{ index: 0, message, finish_reason }],
})

const jobs = (count: number, more: Partial<SampleRequest> = {}): SampleRequest[] =>
  Array.from({ length: count }, (_, i) => ({
    ...{ prompt: `prompt ${i}`, n: 1, temperature: 1, maxNewTokens: 8, seed: i },
    ...{ where: `p.jsonl:${i + 1}`, ...more },
  }))

async function all(url: string, requests: readonly SampleRequest[], more = {}) {
  const source = new EndpointSource({ url, model: "m", backOffSeconds: 0.001, ...more })
  const samples: Sample[] = []
  for await (const sample of source.sample(requests, { keepGoing: true })) samples.push(sample)
  return samples.sort((a, b) => a.requestIndex - b.requestIndex)
}

test.each([
  ["content_filter", "content_filter"],
  ["tool_calls", "tool_calls"],
  ["abort", "abort"],
  ["eos_token", "stop"],
  ["max_tokens", "length"],
  [null, "unknown"],
  ["", "unknown"],
])("finish_reason %s of one answer is written as %s", async (given, written) => {
  const { url } = await serve(({ seed }, response) =>
    answer(response, seed === 3 ? text("odd", given) : text("fine")),
  )
  const samples = await all(url, jobs(6))
  expect(samples.map(({ completion }) => completion)).toEqual(
    [0, 1, 2, 3, 4, 5].map((i) => (i === 3 ? "odd" : "fine")),
  )
  expect(samples[3]!.finishReason).toBe(written)
})

test.each([
  [400, "This model's maximum context length is 256 tokens, you asked for 300", "length"],
  [413, "Payload Too Large", "error"],
  [422, "prompt: string too short", "error"],
  [400, "content management policy", "error"],
] as const)("%i about one prompt costs that prompt alone", async (status, message, reason) => {
  const { url } = await serve(({ prompt }, response) =>
    prompt === "prompt 2"
      ? answer(response, { error: { message } }, status)
      : answer(response, text("fine")),
  )
  const samples = await all(url, jobs(5))
  expect(samples.filter(({ error }) => error === undefined)).toHaveLength(4)
  expect(samples[2]).toMatchObject({ completion: "", finishReason: reason })
  expect(samples[2]!.error).toMatch(new RegExp(`^p.jsonl:3: .*${status}: ${message}`))
})

test.each([401, 404])("%i is about the job, and ends it", async (status) => {
  const { url } = await serve((_body, response) =>
    answer(response, { error: { message: "who are you" } }, status),
  )
  await expect(all(url, jobs(3))).rejects.toThrow(/who are you/)
})

test("when none of many prompts is answered, it is not the prompts", async () => {
  const { url, received } = await serve((_body, response) =>
    answer(response, { error: { message: "temperature must be 1" } }, 400),
  )
  await expect(all(url, jobs(200), { concurrency: 1 })).rejects.toThrow(
    /temperature must be 1 \(16 prompts refused, none answered\)/,
  )
  expect(received.length).toBeLessThan(40)
})

test("an error object with status 200 is told in the server's words", async () => {
  const { url } = await serve(({ seed }, response) =>
    answer(response, seed === 1 ? { error: { message: "out of memory" } } : text("fine")),
  )
  const samples = await all(url, jobs(3))
  expect(samples[1]!.error).toMatch(/out of memory/)
})

test("what a reasoning model thought is kept, and counted when there is nothing besides", async () => {
  const { url } = await serve(({ seed }, response) =>
    answer(
      response,
      seed === 0
        ? chat({ content: "42", reasoning_content: "6 * 7" })
        : seed === 1
          ? chat({ content: null, reasoning: "hmm" }, "length")
          : chat({ content: null, refusal: "I cannot" }),
    ),
  )
  const samples = await all(url, jobs(3, { prompt: [{ role: "user", content: "?" }] }))
  expect(samples[0]).toMatchObject({ completion: "42", reasoning: "6 * 7" })
  expect(samples[1]).toMatchObject({ completion: "", reasoning: "hmm", finishReason: "length" })
  expect(samples[2]!.error).toMatch(/refused: I cannot/)
  const count = new UnansweredCount()
  for (const sample of samples) count.add(sample)
  expect(count.errors).toBe(1)
  expect(count.inWords().join("\n")).toMatch(/1 answers hold a reasoning and no completion/)
})

test("content as parts, and choices in another order", async () => {
  const parts = [
    { type: "text", text: "a" },
    { type: "text", text: "b" },
  ]
  const { url } = await serve((_body, response) =>
    answer(response, {
      choices: [
        { index: 1, message: { content: "second" }, finish_reason: "stop" },
        { index: 0, message: { content: parts }, finish_reason: "stop" },
      ],
    }),
  )
  const samples = await all(url, jobs(1, { prompt: [{ role: "user", content: "?" }] }))
  expect(samples[0]!.completion).toBe("ab")
})

test.each([400, 403, 422])(
  "log-probabilities refused with %i, many requests at once",
  async (status) => {
    const { url, received } = await serve((body, response) =>
      body.logprobs !== undefined
        ? answer(response, { error: { message: "logprobs are not supported" } }, status)
        : answer(response, text("fine")),
    )
    const samples = await all(url, jobs(24))
    expect(samples.every(({ completion }) => completion === "fine")).toBe(true)
    expect(received.length).toBeLessThan(24 + 17)
  },
)

test("log-probabilities refused without a word of them", async () => {
  const { url } = await serve((body, response) =>
    body.logprobs !== undefined
      ? answer(response, { error: { message: "Forbidden" } }, 403)
      : answer(response, text("fine")),
  )
  expect((await all(url, jobs(20)))[19]!.completion).toBe("fine")
})

test("a server of newer names, and one without seeds", async () => {
  const { url } = await serve((body, response) => {
    if (body.max_tokens !== undefined) {
      const message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
      return answer(response, { error: { message } }, 400)
    }
    if (body.seed !== undefined) {
      return answer(response, { error: { message: "Unrecognized request argument: seed" } }, 400)
    }
    answer(response, text(String(body.max_completion_tokens)))
  })
  const told: string[] = []
  const samples = await all(url, jobs(5), { onRetry: (reason: string) => told.push(reason) })
  expect(samples.map(({ completion }) => completion)).toEqual(Array(5).fill("8"))
  expect(told).toEqual(["the server takes no seed: its samples cannot be had again"])
})

test.each([
  ["top_k", { topK: 5 }],
  ["min_p", { minP: 0.1 }],
  ["repetition_penalty", { repetitionPenalty: 1.2 }],
] as const)("%s is never left out in silence", async (name, setting) => {
  const { url, received } = await serve((_body, response) =>
    answer(response, { error: { message: `Unrecognized request argument: ${name}` } }, 400),
  )
  await expect(all(url, jobs(1, setting))).rejects.toThrow(`does not take ${name}`)
  expect(received[0]![name]).toBe(Object.values(setting)[0])
})

test("an answer without end is given up", async () => {
  const { url } = await serve(({ seed }, response) => {
    if (seed !== 1) return answer(response, text("fine"))
    response.writeHead(200, { "content-type": "application/json" })
    const piece = Buffer.alloc(1 << 20, 32)
    const more = (): void => {
      while (!response.destroyed && response.write(piece));
      if (!response.destroyed) response.once("drain", more)
    }
    more()
  })
  const samples = await all(url, jobs(3))
  expect(samples[1]!.error).toMatch(/longer than 64 MB/)
  expect(samples[2]!.completion).toBe("fine")
})

test("the key is not shown when a server repeats it", async () => {
  const { url } = await serve((_body, response) =>
    answer(response, { error: { message: "bad key sk-123" } }, 401),
  )
  await expect(all(url, jobs(1), { apiKey: "sk-123" })).rejects.toThrow(/bad key \*\*\*/)
})

test("Retry-After is seconds or a date", () => {
  const now = Date.parse("Sun, 29 Nov 2026 10:00:00 GMT")
  expect(retryAfter("7", now)).toBe(7)
  expect(retryAfter("Sun, 29 Nov 2026 10:00:30 GMT", now)).toBe(30)
  expect(retryAfter("Sun, 29 Nov 2026 09:00:00 GMT", now)).toBe(0)
  expect(retryAfter("soon", now)).toBeUndefined()
  expect(retryAfter(null, now)).toBeUndefined()
})
