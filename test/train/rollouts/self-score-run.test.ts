import { rmSync } from "node:fs"
import { afterAll, expect, test } from "vitest"
import { rolloutsOf, stepsOf, tinyRollouts, withoutTime } from "./tiny-rollouts.ts"

const { root, run } = tinyRollouts()
afterAll(() => rmSync(root, { recursive: true, force: true }))

test("the policy that learns judges its own answers; ten steps, and a resumed run is the same", async () => {
  const rewards = [{ name: "self-score", prompt: "{answer}", scale: 1000, reply: 12 }]
  const more = { max_steps: 10, save_steps: 4, rollout: { rewards, max_new_tokens: 12 } }
  const events = await run("self", more)
  expect(stepsOf(events)).toHaveLength(10)
  const rollouts = rolloutsOf(events)
  for (const { rewards, unscored, sequences } of rollouts) {
    expect(Object.keys(rewards)).toEqual(["self-score"])
    expect(unscored).toBeLessThan(sequences)
  }
  expect(rollouts.some(({ reward_std }) => reward_std > 0)).toBe(true)
  const stop = new AbortController()
  const onEvent = ({ type, step }: { type: string; step: number }) =>
    type === "step" && step === 6 && stop.abort()
  await run("self-stopped", more, onEvent, stop.signal)
  const resumed = await run("self-stopped", { ...more, resume: true })
  expect(withoutTime(resumed)).toEqual(withoutTime(events))
})
