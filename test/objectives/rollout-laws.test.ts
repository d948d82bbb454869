import { expect, test } from "vitest"
import {
  evaluate,
  type ObjectiveSettings,
  objectiveFromConfig,
  tokenScales,
} from "../../src/objectives/index.ts"

interface Sample {
  readonly advantage: number
  readonly logp: readonly number[]
  readonly old: readonly number[]
}

const MAX = 4
/** Two groups of two, of lengths that differ. */
const SAMPLES: readonly Sample[] = [
  { advantage: 0.7, logp: [-0.2, -1.4], old: [-0.5, -1.3] },
  { advantage: -0.7, logp: [-0.9, -0.1, -2.2], old: [-1.3, -0.1, -1.9] },
  { advantage: 1.1, logp: [-0.6], old: [-0.4] },
  { advantage: -1.1, logp: [-1.6, -0.3, -0.8, -0.2], old: [-1.2, -0.8, -0.8, -0.2] },
]
const firstTokens = (n: number) =>
  SAMPLES.map(({ advantage, logp, old }) => ({
    advantage,
    logp: Array.from({ length: n }, (_, t) => logp[t % logp.length]!),
    old: Array.from({ length: n }, (_, t) => old[t % old.length]!),
  }))

/** The step's loss, and its gradient by each ln p. */
function step(settings: ObjectiveSettings, samples: readonly Sample[], sampling = false) {
  const importance = sampling ? ({ importance: "token-truncate", cap: 2 } as const) : undefined
  const objective = importance
    ? objectiveFromConfig(settings, importance)
    : objectiveFromConfig(settings)
  const segments = Int32Array.from(samples.flatMap(({ logp }, i) => logp.map(() => i)))
  const column = (of: (sample: Sample) => readonly number[]) =>
    Float64Array.from(samples.flatMap(of))
  const old = column((sample) => sample.old)
  const columns = {
    logp: column(({ logp }) => logp),
    old_logp: old,
    sampling_logp: old,
    advantage: column(({ advantage, logp }) => logp.map(() => advantage)),
  }
  const { loss, coefficients } = evaluate(objective.expression, columns, segments)
  const scales = tokenScales(objective.normalization, {
    segments,
    microBatches: new Int32Array(segments.length),
    weights: [],
    maxTokens: MAX,
  })
  return {
    loss: loss.reduce((sum, value, t) => sum + value * scales[t]!, 0),
    gradient: Array.from(coefficients.logp!, (value, t) => value * scales[t]!),
  }
}

function same(a: ReturnType<typeof step>, b: ReturnType<typeof step>) {
  expect(a.loss).toBeCloseTo(b.loss, 12)
  a.gradient.forEach((value, t) => {
    expect(value).toBeCloseTo(b.gradient[t]!, 12)
  })
}

test("samples of one length: per sequence is per token", () => {
  const samples = firstTokens(3)
  same(
    step({ name: "grpo", normalization: "sequences" }, samples),
    step({ name: "grpo", normalization: "tokens" }, samples),
  )
})

test("samples that fill the limit: dr-grpo's constant is both", () => {
  const samples = firstTokens(MAX)
  const constant = step({ name: "dr-grpo" }, samples)
  same(constant, step({ name: "grpo", normalization: "tokens" }, samples))
  same(constant, step({ name: "grpo", normalization: "sequences" }, samples))
})

test("samples of one token: the sequence's ratio, mean or product, is the token's", () => {
  const samples = firstTokens(1)
  const clip = { epsilon: 0.2, epsilon_high: 0.2 }
  const plain = step({ name: "grpo", ...clip }, samples)
  same(step({ name: "gspo", ...clip }, samples), plain)
  same(step({ name: "rloo", ...clip }, samples), plain)
})

test("a clip that never binds is REINFORCE weighted by the ratio", () => {
  const wide = { epsilon: 1, epsilon_high: 1000, normalization: "tokens" }
  const { gradient } = step({ name: "grpo", ...wide }, SAMPLES)
  const plain = step({ name: "reinforce", normalization: "tokens" }, SAMPLES).gradient
  const ratios = SAMPLES.flatMap(({ logp, old }) => logp.map((x, t) => Math.exp(x - old[t]!)))
  gradient.forEach((value, t) => {
    expect(value).toBeCloseTo(ratios[t]! * plain[t]!, 12)
  })
})

test("at the policy that sampled, whatever the clip, the gradient is REINFORCE's", () => {
  const samples = SAMPLES.map((sample) => ({ ...sample, old: sample.logp }))
  const plain = step({ name: "reinforce", normalization: "tokens" }, samples).gradient
  for (const epsilon of [1e-4, 0.2]) {
    const settings = { name: "grpo", epsilon, epsilon_high: epsilon, normalization: "tokens" }
    // both sides of the min are equal there: each has half, and the halves add up
    step(settings, samples).gradient.forEach((value, t) => {
      expect(value).toBeCloseTo(plain[t]!, 12)
    })
  }
})

test("advantages of 0 have no gradient at all", () => {
  const flat = SAMPLES.map((sample) => ({ ...sample, advantage: 0 }))
  for (const name of ["grpo", "rloo", "gspo", "cispo", "sapo", "ppo", "dapo", "reinforce++"]) {
    expect(step({ name }, flat).gradient.every((value) => Math.abs(value) === 0)).toBe(true)
  }
})

test.each(["tokens", "sequences", "sequence_sums", "max_tokens"])(
  "under %s every group twice is the same step",
  (normalization) => {
    const once = step({ name: "grpo", normalization }, SAMPLES)
    const twice = step({ name: "grpo", normalization }, [...SAMPLES, ...SAMPLES])
    expect(twice.loss).toBeCloseTo(once.loss, 12)
    once.gradient.forEach((value, t) => {
      // half of it on each of the two
      expect(2 * twice.gradient[t]!).toBeCloseTo(value, 12)
    })
  },
)

test("a sampler that is the policy has weights of 1, to the bit", () => {
  const plain = step({ name: "grpo" }, SAMPLES)
  const weighed = step({ name: "grpo" }, SAMPLES, true)
  expect(weighed).toEqual(plain)
})
