import { afterAll, describe, expect, test } from "vitest"
import { LocalSource } from "../../../src/generate/index.ts"
import { type ObjectiveSettings, objectiveFromConfig } from "../../../src/objectives/index.ts"
import { openDevice } from "../../../src/runtime/node.ts"
import type { StepRow } from "../../../src/train/batches.ts"
import { forwardBackward } from "../../../src/train/forward-backward.ts"
import { stepBatch } from "../../../src/train/micro-batches.ts"
import { crossEntropyAt, objectiveHead } from "../../../src/train/objective-head.ts"
import { sequenceLogprobs } from "../../../src/train/sequence-logprobs.ts"
import { goldenPolicy } from "../golden-run.ts"

const device = await openDevice({ device: "cpu", threads: 1 })
const policy = await goldenPolicy({ device, family: "llama" })
const { decoder } = policy
afterAll(async () => {
  await policy.release()
  await device.release()
})

const PROMPT = [5, 9, 4]
const V = decoder.shape.vocabSize
const split = { capacity: 4096, packing: true }

/** Every answer of one token, one a row: a bandit whose arms can be counted. */
const arms = Array.from({ length: V }, (_, id): StepRow => {
  const tokenIds = Int32Array.from([...PROMPT, id])
  const lossMask = Uint8Array.from([0, 0, 0, 1])
  const tokenClass = new Uint8Array(4)
  return { tokenIds, lossMask, tokenClass, source: "arm", line: id, weight: 1, value: 0 }
})
const reward = (id: number) => ((id * 7) % 11) / 10

async function probabilities(temperature: number): Promise<number[]> {
  const head = crossEntropyAt(temperature)
  const logp = await sequenceLogprobs(decoder, arms, { split, head })
  return logp.map(([one]) => Math.exp(one!))
}

const value = (p: readonly number[]) => p.reduce((sum, share, id) => sum + share * reward(id), 0)

describe.each([1, 0.7])("at temperature %d", (temperature) => {
  test("all arms together are certain", async () => {
    const p = await probabilities(temperature)
    expect(p.reduce((sum, share) => sum + share, 0)).toBeCloseTo(1, 5)
  })

  test("an arm is as likely as its logit over the temperature makes it", async () => {
    const [plain, p] = [await probabilities(1), await probabilities(temperature)]
    const heated = plain.map((share) => share ** (1 / temperature))
    const whole = heated.reduce((sum, share) => sum + share, 0)
    p.forEach((share, id) => {
      expect(Math.log(share)).toBeCloseTo(Math.log(heated[id]! / whole), 4)
    })
  })

  test("20,000 samples are within four standard errors of the policy", async () => {
    const p = await probabilities(temperature)
    const source = new LocalSource({
      model: decoder,
      tokenizer: { decodeStream: () => ({ push: () => "", end: () => "" }) } as never,
      template: null,
      stopTokenIds: new Set(),
    })
    const n = 20_000
    const request = { prompt: { tokenIds: PROMPT }, n, temperature, maxNewTokens: 1, seed: 3 }
    const counts = new Float64Array(V)
    const rollout = { number: 4, attempt: 1, first: 0 }
    for await (const sample of source.sample([{ ...request, rollout }])) {
      const [id] = sample.tokenIds
      counts[id!]!++
      // what the sampler says of a sample is what training says of it
      if (sample.sampleIndex < 50) expect(sample.logprobs[0]).toBeCloseTo(Math.log(p[id!]!), 3)
    }
    await source.release()
    p.forEach((share, id) => {
      const error = Math.sqrt((share * (1 - share)) / n)
      expect(Math.abs(counts[id]! / n - share)).toBeLessThan(4 * error + 1e-9)
    })
  })

  test.each([
    [{ name: "reinforce" }],
    [{ name: "grpo", normalization: "tokens" }],
    [{ name: "dr-grpo", normalization: "tokens" }],
    [{ name: "cispo" }],
    [{ name: "sapo", normalization: "tokens" }],
    [{ name: "reinforce++" }],
  ] as [ObjectiveSettings][])(
    "%j: the expected gradient is that of the expected reward",
    async (settings) => {
      const p = await probabilities(temperature)
      const average = value(p)
      const old = await sequenceLogprobs(decoder, arms, {
        split,
        head: crossEntropyAt(temperature),
      })
      // each arm counts as often as it is drawn
      const rows = arms.map((row, id): StepRow => {
        const columns = { advantage: reward(id) - average, old_logp: old[id]! }
        return { ...row, weight: p[id]!, columns }
      })
      const objective = objectiveFromConfig(settings)
      const { normalization } = objective
      await forwardBackward({
        policy,
        head: objectiveHead(objective, { temperature }),
        normalization,
        batch: stepBatch(rows, { ...split, normalization }),
        scalars: { progress: 0, step: 1, steps: 1 },
        reference: undefined,
        seed: () => 0,
      })
      // along its own gradient the expected reward changes by the gradient's square
      const moved = [...decoder.gradients].map(([name, gradient]) => ({
        weight: decoder.weights.get(name)!.data as Float32Array,
        gradient: (gradient.data as Float32Array).slice(),
      }))
      const before = moved.map(({ weight }) => weight.slice())
      const square = moved.reduce(
        (sum, { gradient }) => gradient.reduce((all, g) => all + g * g, sum),
        0,
      )
      const h = 1e-2 / Math.sqrt(square)
      const at = async (sign: number) => {
        moved.forEach(({ weight, gradient }, i) => {
          for (let j = 0; j < weight.length; j++)
            weight[j] = before[i]![j]! - sign * h * gradient[j]!
        })
        return value(await probabilities(temperature))
      }
      const [up, down] = [await at(1), await at(-1)]
      moved.forEach(({ weight }, i) => {
        weight.set(before[i]!)
      })
      expect(Math.abs((up - down) / (2 * h) / square - 1)).toBeLessThan(1e-2)
    },
  )
})
