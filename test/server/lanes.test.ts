import OpenAI from "openai"
import { describe, expect, test } from "vitest"
import { Lanes, MOST_COMPUTED, MOST_WAITING } from "../../src/server/lanes.ts"
import { serving } from "./serving.ts"

const never = () => new AbortController().signal

describe("lanes", () => {
  test("8 are computed, 64 wait in their order, the next is told 429", async () => {
    const lanes = new Lanes()
    const held = []
    for (let i = 0; i < MOST_COMPUTED; i++) held.push(await lanes.take(never()))
    const order: number[] = []
    const waiting = Array.from({ length: MOST_WAITING }, (_, i) =>
      lanes.take(never()).then((giveBack) => {
        order.push(i)
        return giveBack
      }),
    )
    await expect(lanes.take(never())).rejects.toMatchObject({ status: 429 })
    held[0]!()
    held[0]!() // once is enough
    const next = await waiting[0]!
    expect([order, lanes.computing, lanes.waiting]).toEqual([[0], 8, 63])
    next()
    await waiting[1]
    expect(order).toEqual([0, 1])
  })

  test("who leaves while waiting frees the place", async () => {
    const lanes = new Lanes()
    const held = await Promise.all(Array.from({ length: 8 }, () => lanes.take(never())))
    const gone = new AbortController()
    const left = lanes.take(gone.signal)
    const stays = lanes.take(never())
    gone.abort(new Error("gone"))
    await expect(left).rejects.toThrow("gone")
    expect(lanes.waiting).toBe(1)
    held[0]!()
    await stays
    expect([lanes.computing, lanes.waiting]).toEqual([8, 0])
  })
})

describe("of a server", async () => {
  const { port, token, lanes } = await serving()
  const options = { baseURL: `http://127.0.0.1:${port}/v1`, apiKey: token, maxRetries: 0 }
  const client = new OpenAI(options)
  const asked = { model: "model", prompt: "1", temperature: 1, seed: 1 }
  const free = () => expect.poll(() => lanes.computing, { timeout: 20_000 }).toBe(0)

  test("answers computed side by side are those computed alone", async () => {
    const texts = (seed: number) =>
      client.completions
        .create({ ...asked, seed, n: 2, max_tokens: 20 })
        .then(({ choices }) => choices.map(({ text }) => text))
    const alone = []
    for (let seed = 0; seed < 6; seed++) alone.push(await texts(10 * seed))
    const together = await Promise.all(alone.map((_, seed) => texts(10 * seed)))
    expect(together).toEqual(alone)
    expect(new Set(alone.flat()).size).toBeGreaterThan(3)
  })

  test.each([true, false])("a dropped connection frees its lane (stream: %s)", async (stream) => {
    const gone = new AbortController()
    const request = client.completions
      .create({ ...asked, stream, n: 64, max_tokens: 200 }, { signal: gone.signal })
      .then(async (answer) => {
        for await (const _ of answer as AsyncIterable<unknown>) gone.abort()
      })
      .catch(() => {})
    if (!stream) {
      await expect.poll(() => lanes.computing, { timeout: 20_000, interval: 2 }).toBe(1)
      gone.abort()
    }
    await request
    await free()
  })
})

test("a request that computes too long is ended, and says so", async () => {
  const { port, token, lanes } = await serving({ computeMs: 1 })
  const client = new OpenAI({
    baseURL: `http://127.0.0.1:${port}/v1`,
    apiKey: token,
    maxRetries: 0,
  })
  const asked = { model: "model", prompt: "1", max_tokens: 200, n: 16 }
  await expect(client.completions.create(asked)).rejects.toMatchObject({ status: 504 })
  expect(lanes.computing).toBe(0)
})
