import { afterAll, expect, test } from "vitest"
import { LocalSource, type Sample, type SampleRequest } from "../../src/generate/index.ts"
import type { Device } from "../../src/runtime/index.ts"
import { openDevice } from "../../src/runtime/node.ts"
import { golden, letters, spelled, tinyModel } from "./tiny-models.ts"

const cpu = await openDevice({ device: "cpu", threads: 2 })
const gpu = await openDevice({ device: "webgpu" }).catch((): undefined => undefined)
if (!gpu) console.warn("absent, so not tested: WebGPU")
afterAll(async () => {
  await cpu.release()
  await gpu?.release()
})

async function samples(device: Device, requests: readonly SampleRequest[]): Promise<Sample[]> {
  const model = await tinyModel(device, "qwen3")
  const options = { tokenizer: letters, template: null, stopTokenIds: new Set<number>() }
  const source = new LocalSource({ model, ...options })
  const found: Sample[] = []
  for await (const sample of source.sample(requests)) found.push(sample)
  await source.release()
  return found.sort((a, b) => a.seed - b.seed)
}

test.runIf(gpu)("on WebGPU: Transformers' greedy text, and the CPU's samples", async () => {
  const { prompt, token_ids } = golden("qwen3").greedy[0]!
  const maxNewTokens = token_ids.length
  const request = { prompt: spelled(prompt), n: 1, temperature: 0, maxNewTokens, seed: 0 }
  expect((await samples(gpu!, [request]))[0]!.tokenIds).toEqual(token_ids)
  // Past 64 places the caches grow; two samples take two of four lanes.
  const long = "a prompt of some length that leaves little room before places"
  const drawn = [{ prompt: long, n: 2, temperature: 1, maxNewTokens: 8, seed: 3 }]
  const [there, here] = [await samples(gpu!, drawn), await samples(cpu, drawn)]
  expect(there.map(({ tokenIds }) => tokenIds)).toEqual(here.map(({ tokenIds }) => tokenIds))
  for (const [i, { logprobs }] of there.entries()) {
    for (const [t, logprob] of logprobs.entries()) {
      expect(logprob).toBeCloseTo(here[i]!.logprobs[t]!, 3)
    }
  }
})
