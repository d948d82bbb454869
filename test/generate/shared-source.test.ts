/** Many who ask one model at once: what each is told is what it is told alone. */
import { afterAll, describe, expect, test } from "vitest"
import {
  LocalSource,
  type Sample,
  type SampleOptions,
  type SampleRequest,
  SharedSource,
} from "../../src/generate/index.ts"
import { LANES } from "../../src/models/block/cached.ts"
import { openDevice } from "../../src/runtime/node.ts"
import { HOLDINGS, holdings, letters, tinyModel } from "./tiny-models.ts"

const device = await openDevice({ device: "cpu", threads: 2 })
afterAll(() => device.release())

async function sources(holding: keyof typeof HOLDINGS) {
  const model = await HOLDINGS[holding](await tinyModel(device, "qwen2"))
  const options = { model, tokenizer: letters, template: null, stopTokenIds: new Set<number>() }
  const [alone, shared] = [new LocalSource(options), new SharedSource(options)]
  return { alone, shared, release: () => Promise.all([alone.release(), shared.release()]) }
}

const asked = (prompt: string, more: Partial<SampleRequest> = {}): SampleRequest => ({
  ...{ prompt, n: 1, temperature: 1, maxNewTokens: 12, seed: 0 },
  ...more,
})

async function samplesOf(
  source: LocalSource | SharedSource,
  request: SampleRequest,
  options: SampleOptions = {},
): Promise<Sample[]> {
  const found: Sample[] = []
  for await (const sample of source.sample([request], options)) found.push(sample)
  return found.sort((a, b) => a.sampleIndex - b.sampleIndex)
}

describe.each(holdings)("%s", (holding) => {
  test("requests that come and go beside a long one are answered as alone", async () => {
    const { alone, shared, release } = await sources(holding)
    const long = asked("a long one", { n: 20, maxNewTokens: 60, seed: 100 })
    const late = Array.from({ length: 7 }, (_, i) =>
      asked(`late ${"x".repeat(3 * i)}`, {
        n: 1 + (i % 3),
        seed: 1000 * i,
        maxNewTokens: 5 + 4 * i,
      }),
    )
    const joined: Promise<Sample[]>[] = []
    const order: string[] = []
    let tokens = 0
    const onToken = () => {
      // all lanes are taken when the first of them comes
      if (++tokens === 2 * LANES) expect(shared.computing).toBe(LANES)
      if (tokens >= 2 * LANES && tokens % 40 === 0 && joined.length < late.length) {
        const request = late[joined.length]!
        joined.push(samplesOf(shared, request).finally(() => order.push("late")))
      }
    }
    const first = await samplesOf(shared, long, { onToken }).finally(() => order.push("long"))
    expect(joined).toHaveLength(late.length)
    expect(order.indexOf("long")).toBe(late.length)
    expect(first).toEqual(await samplesOf(alone, long))
    for (const [i, request] of late.entries()) {
      expect(await joined[i]).toEqual(await samplesOf(alone, request))
    }
    await release()
  })
})

test("who leaves frees its lanes; who cannot be answered does not touch the others", async () => {
  const { alone, shared, release } = await sources("packed")
  const gone = new AbortController()
  const stays = asked("stays", { maxNewTokens: 40, seed: 3 })
  let beside = 0
  const onToken = () => {
    beside++
    if (beside === 10) gone.abort(new Error("gone"))
    if (beside > 12) expect(shared.computing).toBe(1)
  }
  const left = samplesOf(shared, asked("leaves", { n: 64, maxNewTokens: 200 }), {
    signal: gone.signal,
  })
  const refused = samplesOf(shared, asked("ab".repeat(128)))
  const told = samplesOf(shared, stays, { onToken })
  await Promise.all([
    expect(left).rejects.toThrow("gone"),
    expect(refused).rejects.toThrow(/256 tokens; the model's context is 256/),
  ])
  expect(await told).toEqual(await samplesOf(alone, stays))
  expect([beside, shared.computing]).toEqual([40, 0])
  await release()
})

test("who stops reading is forgotten", async () => {
  const { shared, release } = await sources("packed")
  for await (const _ of shared.sample([asked("abc", { n: 30, maxNewTokens: 100 })])) break
  await expect.poll(() => shared.computing).toBe(0)
  await release()
})
