import { rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { advantages } from "../../../src/train/rollouts/advantages.ts"
import { rolloutsOf, stepsOf, tinyRollouts } from "./tiny-rollouts.ts"

const { root, run } = tinyRollouts()
afterAll(() => rmSync(root, { recursive: true, force: true }))

const shown = Array.from({ length: 6 }, (_, i) =>
  JSON.stringify({ prompt: `what is ${i} + ${i}? `, completion: `${2 * i}${2 * i}`, answer: "1" }),
)
writeFileSync(join(root, "shown.jsonl"), `${shown.join("\n")}\n`)
const data = { train: [join(root, "shown.jsonl")], max_length: 64 }

test.each(["luffy-rl", "rl-plus", "srft", "chord", "hpt", "dft-rl"])(
  "%s: ten steps with a demonstration beside the samples of each prompt",
  async (objective) => {
    const events = await run(`shown-${objective}`, {
      ...{ objective, data, max_steps: 10, learning_rate: 2e-3 },
      rollout: { max_new_tokens: 24 },
    })
    const steps = stepsOf(events)
    expect(steps).toHaveLength(10)
    const gated = objective === "hpt"
    steps.forEach(({ loss, grad_norm, measures }) => {
      expect(Number.isFinite(loss + grad_norm)).toBe(true)
      const share = measures!.expert_share!
      if (!gated) {
        expect(share).toBeGreaterThan(0)
        expect(share).toBeLessThan(1)
      }
      expect(Number.isFinite(measures!.loss_expert! + measures!.loss_own!)).toBe(true)
    })
    // what is told of samples is of samples: 2 groups of 4, the demonstrations aside
    for (const one of rolloutsOf(events)) expect(one.sequences).toBe(8)
    if (!gated) {
      for (const one of rolloutsOf(events)) expect(one.demonstrations).toBe(2)
    }
  },
)

// so coarse that some groups are all alike, and are left out
const coarse = join(root, "coarse.mjs")
writeFileSync(coarse, `export default ({ completion }) => (/[0-4]/.test(completion) ? 1 : 0)`)
const rule = {
  ...{ advantage: "group", scale_rewards: "group", filter_groups: "drop" },
  rewards: [{ module: coarse }],
}
const told = async (name: string, objective: object, rollout: object) => {
  const events = await run(name, { data, max_steps: 4, objective, rollout })
  return stepsOf(events).map(({ loss, grad_norm }) => ({ loss, grad_norm }))
}
const plain = told("plain", { name: "grpo", normalization: "tokens" }, rule)

test.each([
  [{ name: "luffy-rl", normalization: "tokens" }],
  [{ name: "rl-plus", normalization: "tokens" }],
  [{ name: "hpt", normalization: "tokens" }],
  [{ name: "dft-rl", normalization: "tokens" }],
  [{ name: "chord", mu_peak: 0, mu_valley: 0 }],
])("%j without demonstrations is GRPO, step by step", async (objective) => {
  const mixed = await told(`none-${objective.name}`, objective, { ...rule, demonstrations: 0 })
  expect(mixed).toHaveLength(4)
  for (const [i, { loss, grad_norm }] of (await plain).entries()) {
    expect(mixed[i]!.loss).toBeCloseTo(loss, 5)
    expect(mixed[i]!.grad_norm).toBeCloseTo(grad_norm, 4)
  }
})

test("dft-rl with samples that teach nothing is DFT on the demonstrations", async () => {
  const module = join(root, "same.mjs")
  writeFileSync(module, "export default () => 0.5")
  const objective = { name: "dft-rl", normalization: "tokens" }
  const rollout = { rewards: [{ module }], filter_groups: "none" }
  const steps = stepsOf(await run("dft-alone", { objective, data, rollout, max_steps: 20 }))
  // no group tells its samples apart, and the demonstrations are learnt all the same
  expect(steps).toHaveLength(20)
  expect(steps.at(-1)!.measures!.loss_own).toBe(0)
  expect(steps[0]!.measures!.loss_expert!).toBeGreaterThan(0)
})

test("a demonstration's advantage is by the samples' mean and deviation, which it is no part of", () => {
  const group = [1, 0, 0, 0].map((reward) => ({ reward, group: 0, tokens: 1 }))
  const expert = { reward: 1, group: 0, tokens: 1, expert: true } as const
  const rule = { baseline: "group", scale: "group" } as const
  const [alone, beside] = [advantages(group, rule), advantages([...group, expert], rule)]
  expect([...beside.subarray(0, 4)]).toEqual([...alone])
  expect(beside[4]).toBeCloseTo(0.75 / 0.5001, 9)
  const wrong = [0, 0].map((reward) => ({ reward, group: 0, tokens: 1 }))
  expect([...advantages([...wrong, expert], rule)]).toEqual([0, 0, 1])
})

test("a prompt without a demonstration is named", async () => {
  const path = join(root, "prompts.jsonl")
  const bare = { train: [path], max_length: 64 }
  await expect(run("bare", { objective: "dft-rl", data: bare })).rejects.toThrow(
    /prompts.jsonl:1: (expected a demonstration|.*completion)/,
  )
})

test.each([
  [{ objective: "grpo", rollout: { demonstrations: 1 } }, /grpo learns from samples alone/],
  [{ objective: "prefix-rft", rollout: { demonstrations: 1 } }, /prefix-rft goes on from demon/],
  [{ objective: "grpo", rollout: { prefix: {} } }, /grpo does not tell the tokens of a demon/],
  [{ objective: "prefix-rft", rollout: { prefix: { samples: 5 } } }, /4 samples; take fewer/],
  [{ objective: "prefix-rft", rollout: { prefix: { high: 0.5 } } }, /0.5 is below low_start 0.95/],
  [{ objective: "distill" }, /distill learns from another model; name one: teacher: FOLDER/],
  [{ objective: "grpo", teacher: "m" }, /grpo has no teacher; take distill/],
  [{ objective: "self-distill", teacher: "m" }, /teacher.model: self-distill is its own teacher/],
  [
    { objective: "self-distill", teacher: { prompt: "{question}" } },
    /teacher.prompt: expected {demonstration} in it/,
  ],
  [{ objective: "grpo", rollout: { rewards: [] } }, /rollout.rewards: expected one at least/],
])("%j is refused", async (more, message) => {
  await expect(run("refused", { data, ...more })).rejects.toThrow(message)
})
