import { expect, test } from "vitest"
import { parseConfig } from "../../../src/config/index.ts"

const config = (more: object) =>
  parseConfig({ model: "m", data: { train: "prompts.jsonl" }, objective: "grpo", ...more })

test.each([
  [{ objective: "dft", rollout: {} }, /dft trains on rows as they are and samples nothing/],
  [
    { rollout: { num_generations: 1 } },
    /rollout.num_generations: 1: a group of one has no baseline.*reinforce/,
  ],
  [
    { batch_size: 12 },
    /batch_size: 12 sequences .* groups of rollout.num_generations 8; take 8 or 16/,
  ],
  [
    { batch_size: 32, rollout: { prompts: 6 } },
    /rollout.prompts: 6 prompts of 8 samples are 48 .* take 4 or 8/,
  ],
  [
    { rollout: { temperature: 0 } },
    /rollout.temperature: 0 is greedy: all samples of a group are equal/,
  ],
  [
    { rollout: { top_p: 0.9 } },
    /rollout.top_p: 0.9: grpo compares log-probabilities of the full distribution/,
  ],
  [{ rollout: { top_k: 50 } }, /rollout.top_k: 50: .*leave it at 0/],
  [
    { rollout: { max_new_tokens: 2048 } },
    /rollout.max_new_tokens: 2048 leaves no room for a prompt/,
  ],
  [
    { objective: { name: "grpo", normalization: "weights" } },
    /objective.normalization: .*sequences/,
  ],
  [{ objective: { name: "grpo", normalization: "paper" } }, /objective.normalization: .*sequences/],
  [
    { objective: { name: "grpo", kl: "k1" } },
    /objective.kl: expected one of k3, k2, k3-ratio .*k1 in a loss pulls nowhere/,
  ],
  [
    { objective: { name: "grpo", dual_clip: 1.1 } },
    /objective.dual_clip: 1.1 would bind before the clip does/,
  ],
  [
    { rollout: { rewards: [{ name: "maths" }] } },
    /rollout.rewards.*unknown reward "maths"; did you mean "math"/,
  ],
  [
    { data: { train: [{ path: "p.jsonl", objective: "dft" }] } },
    /prompts have the run's objective/,
  ],
  [{ rollout: { num_generation: 4 } }, /num_generation.*did you mean "num_generations"/],
])("%j is refused, with the way out", (more, message) => {
  expect(() => config(more)).toThrow(message)
})

test("what is left out is resolved", () => {
  expect(config({}).rollout).toMatchObject({
    num_generations: 8,
    rewards: [{ name: "math", weight: 1 }],
    filter_groups: "drop",
  })
  expect(config({ objective: "dapo" }).rollout!.filter_groups).toBe("resample")
  expect(config({}).learning_rate).toBe(1e-6)
  expect(config({ adapter: "lora" }).learning_rate).toBe(1e-5)
  expect(config({ objective: "dft" }).rollout).toBeNull()
  expect(
    config({ objective: "reinforce", rollout: { num_generations: 1, top_p: 0.9 } }),
  ).toBeTruthy()
  const resolved = config({ objective: "rloo" })
  expect(parseConfig(resolved)).toEqual(resolved)
})
