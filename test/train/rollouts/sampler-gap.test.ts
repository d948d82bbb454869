import { expect, test } from "vitest"
import type { RolloutEvent } from "../../../src/run/events.ts"
import { ROLLOUTS_BEGIN } from "../../../src/train/rollouts/rollout-state.ts"
import { outcomeOf } from "../../../src/train/rollouts/rollout-watch.ts"
import { givenRollouts } from "./given-samples.ts"

test.each([0.21, -0.5])("a sampler that is %d nats apart is another model: stop", async (apart) => {
  await expect(givenRollouts(apart).batch(1)).rejects.toThrow(
    /sampler-gap: the sampler's log-probabilities are 0\.\d+ nats from training's on average .*another model, adapter, template or temperature/,
  )
})

test("rounding is no other model", async () => {
  const taken = await givenRollouts(0.19).batch(1)
  expect(taken!.rows).toHaveLength(4)
})

/** What training sees of the sampler, and what is told. */
async function weighed(apart: number, weighsSampler: boolean | "if-apart") {
  const rollouts = givenRollouts(apart, { weighsSampler })
  const steps = [await rollouts.batch(1), await rollouts.batch(2)]
  return steps.map((taken) => ({
    same: taken!.rows.every(({ columns }) => {
      const { old_logp, sampling_logp } = columns as Record<string, Float32Array>
      return old_logp!.every((old, t) => old === sampling_logp![t])
    }),
    told: (taken!.events![0] as unknown as RolloutEvent).importance !== undefined,
  }))
}

test("a first gap under 1e-3 needs no weights: they are 1 to the bit, for the whole run", async () => {
  expect(await weighed(5e-4, "if-apart")).toEqual(Array(2).fill({ same: true, told: false }))
})

test("a wider first gap is weighed, and so is any where the config asks for it", async () => {
  expect(await weighed(5e-3, "if-apart")).toEqual(Array(2).fill({ same: false, told: true }))
  expect(await weighed(5e-4, true)).toEqual(Array(2).fill({ same: false, told: true }))
})

test("what the first rollout decided is in the checkpoint", async () => {
  const rollouts = givenRollouts(5e-4, { weighsSampler: "if-apart" })
  await rollouts.batch(1)
  const state = rollouts.tensorsAfter(1).find(({ name }) => name === "rollout.state")!
  expect(JSON.parse(new TextDecoder().decode(state.data as Uint8Array)).progress.weighs).toBe(false)
})

test("a server whose gap grows to three times its first is told of, once", async () => {
  const gaps = [0.01, 0.02, 0.05, 0.05]
  const rollouts = givenRollouts(() => gaps.shift()!, { isRemote: true })
  const warned: boolean[] = []
  for (let step = 1; step <= 4; step++) {
    const { events } = (await rollouts.batch(step))!
    warned.push(events!.some((event) => "code" in event && event.code === "sampler-gap"))
  }
  expect(warned).toEqual([false, false, true, false])
})

test("groups of which more than four in five are equal are told of, once; fewer are not", () => {
  const outcome = (equal: number, progress = ROLLOUTS_BEGIN) => {
    const sampled = Array.from({ length: 20 }, (_, i) => ({
      prompt: Math.floor(i / 2),
      group: Math.floor(i / 2),
      completion: "4",
      tokenIds: [4],
      finishReason: "stop",
      reward: Math.floor(i / 2) < equal ? 1 : i % 2,
    }))
    return outcomeOf(progress, {
      sampled: sampled as never,
      rows: [{ advantage: 1 }] as never,
      prompts: Array.from({ length: 10 }, (_, i) => ({ where: `p.jsonl:${i + 1}` })) as never,
      ...{ maxNewTokens: 4, stops: [], tokenText: String },
      ...{ updated: true, learnsFromRewards: true, isRemote: false },
    })
  }
  expect(outcome(8).warnings).toEqual([])
  const { warnings, progress, over } = outcome(9)
  expect(over).toBe(false)
  expect(warnings.map(({ code }) => code)).toEqual(["zero-variance"])
  expect(warnings[0]!.message).toMatch(/in 90 % .* p.jsonl:1 answered "4", reward 1; p.jsonl:2/)
  expect(outcome(9, progress).warnings).toEqual([])
})
