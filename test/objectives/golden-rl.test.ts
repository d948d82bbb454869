import { expect, test } from "vitest"
import { importanceWeight } from "../../src/objectives/importance.ts"
import {
  type Columns,
  evaluate,
  evaluateAll,
  type ImportanceSettings,
  type ObjectiveSettings,
  objectiveFromConfig,
  objectiveFromJson,
  objectiveToJson,
  tokenScales,
} from "../../src/objectives/index.ts"
import { byPairs, GOLDEN_CASES, GOLDEN_RL, OF_VALUES, sampled, stepTokens } from "./golden-rl.ts"
import { logSoftmax } from "./vocabulary.ts"

test.each(GOLDEN_CASES)("$name has TRL's value and gradient", (one) => {
  const { step, loss, gradient } = one
  for (const objective of [
    one.objective,
    objectiveFromJson(JSON.parse(JSON.stringify(objectiveToJson(one.objective)))),
  ]) {
    const { expression, value, normalization } = objective
    const scales = one.tokens
      ? new Float64Array(step.segments.length).fill(1 / one.tokens)
      : tokenScales(normalization, stepTokens(step))
    const found = evaluate(expression, step.columns, step.segments)
    const [values] = value ? evaluateAll([value], step.columns, step.segments) : [found.loss]
    const total = values!.reduce((sum, x, t) => sum + x * scales[t]!, 0)
    expect(total).toBeCloseTo(loss, 12)
    gradient.forEach((expected, t) => {
      expect(found.coefficients.logp[t]! * scales[t]!).toBeCloseTo(expected, 12)
    })
  }
})

test("every golden case is held here, but a critic's, which are held by critic.test.ts", () => {
  const held = new Set(GOLDEN_CASES.map(({ name }) => name))
  const all = [...GOLDEN_RL.cases, ...GOLDEN_RL.hybrids].map(({ name }) => name)
  expect(all.filter((name) => !held.has(name))).toEqual(OF_VALUES)
})

/** Value and d / d logp of each token under grpo with advantages of 0: its KL term alone. */
function klTerm(kl: string, columns: Columns, segments: Int32Array) {
  const { expression } = objectiveFromConfig({ name: "grpo", beta: 1, kl })
  const { loss, coefficients } = evaluate(expression, columns, segments)
  return { loss: [...loss], gradient: [...coefficients.logp] }
}

test.each(["k2", "k3"])("%s has the golden values and slopes, token by token", (name) => {
  const { columns, segments } = sampled("grpo")
  const advantage = new Float64Array(segments.length)
  const found = klTerm(name, { ...columns, advantage }, segments)
  const { value, d_logp } = GOLDEN_RL.kl_estimators[name]!
  value.flat().forEach((expected, t) => {
    expect(found.loss[t]).toBeCloseTo(expected, 12)
    expect(found.gradient[t]).toBeCloseTo(d_logp.flat()[t]!, 12)
  })
})

/**
 * The two arms of a bandit, each as often as it is drawn: d / d theta of what the loss gives them.
 */
function expectedSlope(settings: ObjectiveSettings, bandit: (typeof GOLDEN_RL.bandit)[number]) {
  const logs = (theta: number) =>
    Float64Array.of(-Math.log1p(Math.exp(-theta)), -Math.log1p(Math.exp(theta)))
  const { p, theta, theta_ref, rewards } = bandit
  const average = p * rewards[0] + (1 - p) * rewards[1]
  const columns = {
    logp: logs(theta),
    old_logp: logs(theta),
    ref_logp: logs(theta_ref),
    advantage: Float64Array.from(rewards, (reward) => reward - average),
  }
  const { expression } = objectiveFromConfig(settings)
  const [first, second] = evaluate(expression, columns, Int32Array.of(0, 1)).coefficients.logp
  return p * first! * (1 - p) - (1 - p) * second! * p
}

test.each(GOLDEN_RL.bandit.map((bandit, i) => [i, bandit] as const))(
  "bandit %i: the expected gradient is that of the expected reward less its KL",
  (_, bandit) => {
    const { beta, rewards } = bandit
    for (const kl of ["k2", "k3-ratio"]) {
      const slope = expectedSlope({ name: "grpo", beta, kl }, bandit)
      expect(-slope).toBeCloseTo(bandit.d_objective_d_theta, 12)
    }
    if (beta === 0) {
      for (const name of ["reinforce", "dr-grpo", "rloo", "cispo", "ppo"])
        expect(-expectedSlope({ name }, bandit)).toBeCloseTo(bandit.d_objective_d_theta, 12)
    }
    // of the KL alone: k3 by itself pulls another way
    const alone = { ...bandit, rewards: [rewards[0], rewards[0]] as const }
    for (const [kl, slope] of [
      ["k2", bandit.expected_grad_k2_in_loss],
      ["k3", bandit.expected_grad_k3_in_loss],
      ["k3-ratio", bandit.expected_grad_k3_times_ratio_in_loss],
    ] as const)
      expect(expectedSlope({ name: "grpo", beta: 1, kl }, alone)).toBeCloseTo(slope, 12)
    expect(bandit.expected_grad_k2_in_loss).toBeCloseTo(bandit.true_grad_kl, 12)
  },
)

test("what makes up for another sampler has the golden weights", () => {
  const { columns, segments } = sampled("grpo")
  const weights = (settings: ImportanceSettings) => [
    ...evaluateAll([importanceWeight(settings)!], columns, segments)[0]!,
  ]
  const { token_truncated_2, sequence_product, sequence_geometric } = GOLDEN_RL.importance
  const near = (found: readonly number[], wanted: readonly number[]) =>
    found.forEach((weight, t) => {
      expect(weight).toBeCloseTo(wanted[t]!, 12)
    })
  const spread = (values: readonly number[]) => Array.from(segments, (i) => values[i]!)
  near(weights({ importance: "token-truncate", cap: 2 }), token_truncated_2.flat())
  near(weights({ importance: "sequence-mask", cap: 3 }), spread(sequence_product))
  // one of the nine is above 2 and is dropped
  const below = sequence_product.map((weight) => (weight > 2 ? 0 : weight))
  near(weights({ importance: "sequence-mask", cap: 2 }), spread(below))
  const kept = sequence_geometric.map((mean) => Number(mean <= 1.01 && mean >= 0.98))
  expect(new Set(kept).size).toBe(2)
  const settings = { importance: "geometric-mask", cap: 1.01, least: 0.98 } as const
  near(weights(settings), spread(kept))
})

test("each pair's loss and slope by its margin", () => {
  const { columns, segments } = byPairs
  const of = (settings: ObjectiveSettings) => {
    const { value, expression } = objectiveFromConfig(settings)
    const [values] = evaluateAll([value!], columns, segments)
    const { logp } = evaluate(expression, columns, segments).coefficients
    return GOLDEN_RL.pairs_one_by_one.pairs.map((_, i) => {
      const mine = [...segments.keys()].filter((t) => Math.floor(segments[t]! / 2) === i)
      const chosen = mine.filter((t) => segments[t] === 2 * i)
      return {
        loss: mine.reduce((sum, t) => sum + values![t]!, 0),
        slope: chosen.reduce((sum, t) => sum + logp[t]!, 0) / chosen.length,
        whole: chosen.reduce((sum, t) => sum + logp[t]!, 0),
      }
    })
  }
  const sums = [
    ["sigmoid", { name: "dpo" }],
    ["cdpo_0.1", { name: "dpo", label_smoothing: 0.1 }],
    ["hinge", { name: "dpo", loss: "hinge" }],
  ] as const
  for (const [name, settings] of sums) {
    of(settings).forEach(({ loss, slope }, i) => {
      const wanted = GOLDEN_RL.pairs_one_by_one.pairs[i]![name]
      expect(loss, name).toBeCloseTo(wanted.loss, 12)
      expect(slope, name).toBeCloseTo(wanted.d_loss_d_margin, 12)
    })
  }
  of({ name: "dpo", loss: "ipo" }).forEach(({ loss, whole }, i) => {
    const wanted = GOLDEN_RL.pairs_one_by_one.pairs[i]!.ipo_mean
    expect(loss).toBeCloseTo(wanted.loss, 12)
    // each of n tokens has 1 / n of it
    expect(whole).toBeCloseTo(wanted.d_loss_d_mean_margin, 12)
  })
})

test("from logits to the slope of each logit: sft, dft, dpo, grpo with its bonus", () => {
  const { logits, targets } = GOLDEN_RL.inputs.logits
  const logprobs = logits.map(logSoftmax)
  const entropies = logprobs.map((row) => -row.reduce((sum, x) => sum + Math.exp(x) * x, 0))
  const cases: readonly [ObjectiveSettings, Columns, segments: readonly number[]][] = [
    [{ name: "sft" }, {}, [0, 0, 0, 0]],
    [{ name: "dft" }, {}, [0, 0, 0, 0]],
    [
      { name: "dpo", beta: 0.5 },
      { pair_sign: Float64Array.of(1, 1, -1, -1), ref_logp: Float64Array.of(-0.5, -1, -2, -0.5) },
      [0, 0, 1, 1],
    ],
    [
      { name: "grpo", normalization: "tokens", entropy: 0.01 },
      {
        advantage: Float64Array.of(1, 1, -1, -1),
        old_logp: new Float64Array(4).fill(-0.7),
      },
      [0, 1, 2, 3],
    ],
  ]
  cases.forEach(([settings, more, segments], i) => {
    const wanted = GOLDEN_RL.from_logits[i]!
    const logp = Float64Array.from(logprobs, (row, t) => row[targets[t]!]!)
    const columns = { logp, entropy: Float64Array.from(entropies), ...more }
    const { expression, normalization } = objectiveFromConfig(settings)
    const { coefficients } = evaluate(expression, columns, segments)
    const step = { columns, segments: Int32Array.from(segments), maxTokens: 1 }
    const scales = tokenScales(normalization, stepTokens(step))
    wanted.d_logits.forEach((row, t) => {
      const [mine, entropy] = [logprobs[t]!, entropies[t]!]
      row.forEach((slope, v) => {
        const p = Math.exp(mine[v]!)
        const byLogp = coefficients.logp[t]! * (Number(v === targets[t]) - p)
        const byEntropy = -(coefficients.entropy?.[t] ?? 0) * p * (mine[v]! + entropy)
        expect((byLogp + byEntropy) * scales[t]!, wanted.name).toBeCloseTo(slope, 12)
      })
    })
  })
})
