import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { afterEach, describe, expect, test } from "vitest"
import { EndpointSource, type Sample, type SampleRequest } from "../../src/generate/index.ts"

interface Received {
  readonly path: string
  readonly headers: IncomingMessage["headers"]
  readonly body: Record<string, unknown>
}

type Respond = (request: Received, count: number, response: ServerResponse) => void

const servers: ReturnType<typeof createServer>[] = []
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    server.close()
  }
})

/** A server on this machine; `respond` gets the number of the request, from 1. */
async function serve(respond: Respond) {
  const received: Received[] = []
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    const body = JSON.parse(Buffer.concat(parts).toString()) as Record<string, unknown>
    const one = { path: request.url ?? "", headers: request.headers, body }
    received.push(one)
    respond(one, received.length, response)
  })
  servers.push(server)
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, received }
}

function answer(response: ServerResponse, body: unknown, status = 200, headers = {}): void {
  response.writeHead(status, { "content-type": "application/json", ...headers })
  response.end(typeof body === "string" ? body : JSON.stringify(body))
}

const completion = (text: string, more = {}) => ({
  choices: [{ index: 0, text, finish_reason: "stop", ...more }],
})

const asked = (more: Partial<SampleRequest> = {}): SampleRequest => ({
  prompt: "1+1=",
  n: 1,
  temperature: 0.7,
  maxNewTokens: 16,
  seed: 40,
  ...more,
})

async function all(source: EndpointSource, requests: SampleRequest[], signal?: AbortSignal) {
  const samples: Sample[] = []
  for await (const sample of source.sample(requests, signal ? { signal } : {})) samples.push(sample)
  return samples.sort((a, b) => a.requestIndex - b.requestIndex || a.sampleIndex - b.sampleIndex)
}

const quick = { model: "tiny", backOffSeconds: 0.001 }

test("a text goes to /completions, each sample with its own seed", async () => {
  const { url, received } = await serve(({ body }, _count, response) => {
    const logprobs = { tokens: ["2", "!"], token_logprobs: [-0.5, -1.25] }
    answer(response, completion(`seed ${body.seed}`, { logprobs, token_ids: [7, 8] }))
  })
  const source = new EndpointSource({ ...quick, url, apiKey: "secret" })
  const samples = await all(source, [asked({ n: 3, topP: 0.9, topK: 5, stop: ["\n"] })])
  expect(samples).toEqual(
    [0, 1, 2].map((i) => ({
      requestIndex: 0,
      sampleIndex: i,
      completion: `seed ${40 + i}`,
      tokenIds: [7, 8],
      logprobs: [-0.5, -1.25],
      finishReason: "stop",
      seed: 40 + i,
    })),
  )
  expect(received[0]!.path).toBe("/v1/completions")
  expect(received[0]!.headers.authorization).toBe("Bearer secret")
  const sent = received.find(({ body }) => body.seed === 40)!.body
  expect(sent).toEqual({
    ...{ model: "tiny", prompt: "1+1=", n: 1, temperature: 0.7, top_p: 0.9, top_k: 5 },
    ...{ max_tokens: 16, seed: 40, stop: ["\n"], logprobs: 1 },
  })
})

test("messages go to /chat/completions; a server without log-probabilities gives none", async () => {
  const { url, received } = await serve(({ body }, _count, response) => {
    if (body.logprobs !== undefined) {
      return answer(response, { error: { message: "logprobs is not supported" } }, 400)
    }
    answer(response, { choices: [{ message: { content: "two" }, finish_reason: "length" }] })
  })
  const messages = [{ role: "user", content: "1+1?" }]
  const source = new EndpointSource({ ...quick, url: `${url}/v1/` })
  const samples = await all(source, [asked({ prompt: messages })])
  expect(samples[0]).toMatchObject({ completion: "two", logprobs: [], finishReason: "length" })
  expect(received.map(({ path }) => path)).toEqual(["/v1/chat/completions", "/v1/chat/completions"])
  expect(received[0]!.body).toMatchObject({ messages, logprobs: true })
  // The server's word is remembered.
  await all(source, [asked({ prompt: messages })])
  expect(received).toHaveLength(3)
})

test("log-probabilities of chat answers", async () => {
  const { url } = await serve((_request, _count, response) => {
    const logprobs = {
      content: [
        { token: "t", logprob: -0.1 },
        { token: "wo", logprob: -2 },
      ],
    }
    answer(response, {
      choices: [{ message: { content: "two" }, finish_reason: "stop", logprobs }],
    })
  })
  const messages = [{ role: "user", content: "1+1?" }]
  const [sample] = await all(new EndpointSource({ ...quick, url }), [asked({ prompt: messages })])
  expect(sample!.logprobs).toEqual([-0.1, -2])
})

describe("trying again", () => {
  const statuses = [429, 500, 503]
  test.each(statuses)("after %i", async (status) => {
    const { url, received } = await serve((_request, count, response) =>
      count < 3 ? answer(response, "busy", status) : answer(response, completion("2")),
    )
    const reasons: string[] = []
    const source = new EndpointSource({ ...quick, url, onRetry: (reason) => reasons.push(reason) })
    expect((await all(source, [asked()]))[0]!.completion).toBe("2")
    expect(received).toHaveLength(3)
    expect(reasons[0]).toContain(`${status} busy`)
  })

  test("after a connection that is cut, and after silence", async () => {
    const { url } = await serve((_request, count, response) => {
      if (count === 1) response.destroy()
      else if (count > 2) answer(response, completion("2"))
    })
    const reasons: string[] = []
    const onRetry = (reason: string) => reasons.push(reason)
    const source = new EndpointSource({ ...quick, url, timeoutSeconds: 0.3, onRetry })
    expect((await all(source, [asked()]))[0]!.completion).toBe("2")
    expect(reasons).toHaveLength(2)
    expect(reasons[1]).toContain("no answer in 0.3 s")
  })

  test("waits as long as the server asks", async () => {
    const { url } = await serve((_request, count, response) =>
      count < 2
        ? answer(response, "later", 429, { "retry-after": "0.01" })
        : answer(response, completion("2")),
    )
    const reasons: string[] = []
    const onRetry = (reason: string) => reasons.push(reason)
    await all(new EndpointSource({ ...quick, backOffSeconds: 99, url, onRetry }), [asked()])
    expect(reasons[0]).toContain("trying again in 0.0 s")
  })

  test("ends with an error that names the address", async () => {
    const { url, received } = await serve((_request, _count, response) =>
      answer(response, "no", 502),
    )
    const source = new EndpointSource({ ...quick, url, attempts: 3 })
    await expect(all(source, [asked()])).rejects.toThrow(
      new RegExp(`${url}/v1/completions: 502 no, 3 times`),
    )
    expect(received).toHaveLength(3)
  })

  test("not an address that no request is ever sent to", async () => {
    const reasons: string[] = []
    const onRetry = (reason: string) => reasons.push(reason)
    const source = new EndpointSource({ ...quick, url: "http://127.0.0.1:6000", onRetry })
    await expect(all(source, [asked()])).rejects.toThrow(/:6000.*no request can be sent.*bad port/)
    expect(reasons).toEqual([])
  })
})

test("never more requests at once than asked for", async () => {
  let now = 0
  let most = 0
  const { url } = await serve((_request, _count, response) => {
    most = Math.max(most, ++now)
    setTimeout(() => {
      now--
      answer(response, completion("2"))
    }, 10)
  })
  const source = new EndpointSource({ ...quick, url, concurrency: 3 })
  expect(await all(source, [asked({ n: 8 }), asked({ n: 4 })])).toHaveLength(12)
  expect(most).toBe(3)
})

test("an abort ends what is under way", async () => {
  const { url } = await serve(() => {}) // never answers
  const controller = new AbortController()
  const waiting = all(new EndpointSource({ ...quick, url }), [asked({ n: 3 })], controller.signal)
  setTimeout(() => controller.abort(), 50)
  await expect(waiting).rejects.toThrow(/abort/i)
})

describe("clear errors", () => {
  const bad: readonly [name: string, status: number, body: unknown, message: RegExp][] = [
    ["unknown model", 404, { error: { message: "model tiny not found" } }, /404: model tiny not/],
    ["a web page", 200, "<html>", /expected JSON/],
    ["no choices", 200, {}, /expected an answer with "choices"/],
    ["an error in an answer", 200, { error: { message: "overloaded" } }, /an error: .*overloaded/],
    ["no text", 200, { choices: [{ finish_reason: "stop" }] }, /expected the choice to hold text/],
  ]
  test.each(bad)("%s", async (_name, status, body, message) => {
    const { url } = await serve((_request, _count, response) => answer(response, body, status))
    await expect(all(new EndpointSource({ ...quick, url }), [asked()])).rejects.toThrow(message)
  })
  test("an address that is none", () => {
    expect(() => new EndpointSource({ ...quick, url: "localhost" })).toThrow(/expected a URL/)
    expect(() => new EndpointSource({ ...quick, url: "file:///etc" })).toThrow(/http or https/)
  })
})
