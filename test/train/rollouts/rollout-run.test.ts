import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import type { RunEnd } from "../../../src/run/events.ts"
import {
  mean,
  rolloutsOf,
  stepsOf,
  tinyRollouts,
  warningsOf,
  withoutTime,
} from "./tiny-rollouts.ts"

const { root, run } = tinyRollouts()
afterAll(() => rmSync(root, { recursive: true, force: true }))

/** Rewards the share of digits; where a file is there, it takes its time. */
const gradingOf = (stop: string) => `import { existsSync } from "node:fs"
const score = ({ completion }) =>
  completion.length === 0 ? 0 : [...completion].filter((c) => c >= "0" && c <= "9").length / completion.length
export default async (sample) => {
  if (existsSync(${JSON.stringify(stop)})) await new Promise((done) => setTimeout(done, 400))
  return score(sample)
}
`

test("a group of samples, their rewards and an update: the reward rises", async () => {
  const events = await run("digits", { max_steps: 30 })
  const rollouts = rolloutsOf(events)
  const [first, last] = [rollouts.slice(0, 5), rollouts.slice(-5)].map((some) =>
    mean(some.map(({ reward }) => reward)),
  )
  expect(last! - first!).toBeGreaterThan(0.2)
  const [one] = rollouts
  expect(one).toMatchObject({ rollout: 0, prompts: 2, sequences: 8, policy_step: 0, unscored: 0 })
  expect(Object.keys(one!.rewards)).toEqual(["digits.mjs"])
  // the policy that samples is the policy that is trained
  for (const { logp_difference } of rollouts) expect(logp_difference?.max ?? 0).toBeLessThan(1e-4)
  for (const step of stepsOf(events)) {
    expect(step.ratio!.max).toBeCloseTo(1, 4)
    expect(step.clip_high! + step.clip_low!).toBe(0)
  }
  // all samples are digits: nothing is left to learn, and that is no failure
  expect(events.at(-1)).toMatchObject({ type: "run.end", reason: "done" })
  expect(events.at(-1)!.step).toBeLessThan(30)
  expect(warningsOf(events).map(({ code }) => code)).toContain("zero-variance")
  expect(existsSync(join(root, "digits", "model", "model.safetensors"))).toBe(true)
  const { time_shares } = events.at(-1) as RunEnd
  const { sampling, grading, measuring, training } = time_shares!
  expect(sampling + grading + measuring + training).toBeCloseTo(1, 6)
  for (const share of [sampling, measuring, training]) expect(share).toBeGreaterThan(0)
})

test.each([
  ["reinforce"],
  ["rloo"],
  ["reinforce++"],
  ["dr-grpo"],
  ["dapo"],
  ["gspo"],
  ["cispo"],
  ["sapo"],
  ["ppo"],
  [{ name: "grpo", beta: 0.1, kl: "k3-ratio", entropy: 0.01, dual_clip: 3 }],
] as const)("%j trains on rollouts, several updates each", async (objective) => {
  const name = `objective-${JSON.stringify(objective).replace(/[^\w+]+/g, "-")}`
  const rollout = { num_iterations: 2, prompts: 4, temperature: 1.3 }
  const events = await run(name, { objective, rollout, max_steps: 8 })
  const steps = stepsOf(events)
  expect(steps).toHaveLength(8)
  expect(steps.every(({ loss, grad_norm }) => Number.isFinite(loss + grad_norm))).toBe(true)
  expect(steps[0]!.grad_norm).toBeGreaterThan(0)
  for (const { logp_difference } of rolloutsOf(events)) {
    expect(logp_difference?.max ?? 0).toBeLessThan(1e-4)
  }
  // the policy moves away from the one that sampled
  expect(steps[1]!.ratio!.max).toBeGreaterThan(1.0001)
})

/** A run that is stopped where `when` says, resumed, and must be as the whole one. */
test.each([
  ["sampling", { rollout: 2, during: "sampling" }],
  ["grading", { rollout: 2, during: "grading" }],
  ["after grading", { step: 3, type: "rollout" }],
  ["between passes", { step: 4, type: "step" }],
  ["between rollouts", { step: 6, type: "histogram" }],
] as const)("interrupted while %s, a resumed run gives the same bits", async (phase, when) => {
  const name = `stopped-${phase.replace(/ /g, "-")}`
  const stop = join(root, `${name}.stop`)
  // tells that a rollout is graded, and waits there to be interrupted
  const module = join(root, `${name}.mjs`)
  writeFileSync(module, gradingOf(stop))
  const more = {
    max_steps: 9,
    save_steps: 3,
    objective: { name: "grpo", beta: 0.05 },
    rollout: { num_iterations: 3, rewards: [{ module }], filter_groups: "none" },
  }
  const whole = await run(`${name}-whole`, more)
  const controller = new AbortController()
  const { signal } = controller
  let rollouts = 0
  const events = run(
    name,
    more,
    (event) => {
      if (event.type === "rollout") rollouts++
      if ("type" in when && event.type === when.type && event.step >= when.step) controller.abort()
      if ("during" in when && when.during === "sampling" && rollouts === when.rollout) {
        if (event.type === "histogram" && event.step === 6) setImmediate(() => controller.abort())
      }
      if ("during" in when && when.during === "grading" && rollouts === when.rollout) {
        writeFileSync(stop, "")
        setTimeout(() => controller.abort(), 100)
      }
    },
    signal,
  )
  expect((await events).at(-1)).toMatchObject({ type: "run.end", reason: "interrupted" })
  rmSync(stop, { force: true })
  const resumed = await run(name, { ...more, resume: true })
  const model = (of: string) => readFileSync(join(root, of, "model", "model.safetensors"))
  expect(withoutTime(resumed)).toEqual(withoutTime(whole))
  expect(model(name).equals(model(`${name}-whole`))).toBe(true)
})
