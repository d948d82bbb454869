/**
 * METHOD-RL, 2.7: what losses of pairs and labels must hold to, by themselves; how steps split is
 * in test/train.
 */
import { expect, test } from "vitest"
import {
  dpoPair,
  evaluate,
  evaluateAll,
  IMPLICIT_REWARD,
  type ObjectiveSettings,
  objectiveFromConfig,
} from "../../src/objectives/index.ts"

interface Pair {
  readonly chosen: readonly number[]
  readonly rejected: readonly number[]
  /** Of the reference; the policy's own if left out. */
  readonly reference?: readonly [readonly number[], readonly number[]]
}

const PAIR: Pair = {
  chosen: [-0.2, -1.3, -0.05],
  rejected: [-1.1, -0.6],
  reference: [
    [-0.5, -1, -0.3],
    [-0.9, -0.8],
  ],
}

/** One pair's loss and d loss / d logp of its two sides. */
function lossOf(settings: string | ObjectiveSettings, pair: Pair) {
  const objective = objectiveFromConfig(settings)
  const { chosen, rejected, reference = [chosen, rejected] } = pair
  const n = chosen.length
  const segments = [...chosen.map(() => 0), ...rejected.map(() => 1)]
  const columns = {
    logp: Float64Array.from([...chosen, ...rejected]),
    ref_logp: Float64Array.from(reference.flat()),
    pair_sign: Float64Array.from(segments, (s) => (s === 0 ? 1 : -1)),
    position: Float64Array.from(segments, (s, t) => (s === 0 ? t : t - n)),
    kl_step: 0,
  }
  const [value, reward] = evaluateAll(
    [objective.value!, objective.measures![IMPLICIT_REWARD]!],
    columns,
    segments,
  )
  const { coefficients } = evaluate(objective.expression, columns, segments)
  return {
    loss: value!.reduce((a, b) => a + b, 0),
    reward: { chosen: reward![0]!, rejected: reward![n]! },
    gradient: {
      chosen: [...coefficients.logp.subarray(0, n)],
      rejected: [...coefficients.logp.subarray(n)],
    },
  }
}

const DPO = { name: "dpo" }
const PAIR_OBJECTIVES: ObjectiveSettings[] = [
  DPO,
  ...["ipo", "hinge", "robust", "apo-zero", "apo-down", "nca"].map((loss) => ({ ...DPO, loss })),
  { ...DPO, label_smoothing: 0.2 },
  { ...DPO, loss: "robust", label_smoothing: 0.2 },
  { ...DPO, length_normalized: true },
  { ...DPO, ld_alpha: 0.5 },
  { name: "simpo" },
  { name: "cpo" },
  { name: "orpo" },
]
const titled = PAIR_OBJECTIVES.map((settings) => ({ settings, title: JSON.stringify(settings) }))

test.each([
  [DPO, Math.LN2],
  [{ ...DPO, label_smoothing: 0.1 }, Math.LN2],
  [{ ...DPO, loss: "robust", label_smoothing: 0.1 }, Math.LN2],
  [{ ...DPO, loss: "hinge" }, 1],
  [{ ...DPO, loss: "ipo" }, 25],
  [{ ...DPO, loss: "ipo", beta: 0.5 }, 1],
  [{ ...DPO, loss: "apo-zero" }, 1],
  [{ ...DPO, loss: "apo-down" }, 1],
] as const)("1: at the reference %j is %d", (settings, expected) => {
  const { chosen, rejected } = PAIR
  expect(lossOf(settings, { chosen, rejected }).loss).toBeCloseTo(expected, 12)
})

test.each(titled)(
  "2: $title has the gradient of its own value, by central differences",
  ({ settings }) => {
    const { gradient } = lossOf(settings, PAIR)
    const h = 1e-6
    for (const side of ["chosen", "rejected"] as const) {
      PAIR[side].forEach((_, i) => {
        const at = (by: number) => {
          const moved = PAIR[side].map((x, j) => (i === j ? x + by : x))
          return lossOf(settings, { ...PAIR, [side]: moved }).loss
        }
        expect((at(h) - at(-h)) / (2 * h)).toBeCloseTo(gradient[side][i]!, 7)
      })
    }
  },
)

test("3: the sides changed about are -z: L(-z) - L(z) = z, and no difference at a smoothing of 1/2", () => {
  const { chosen, rejected, reference } = PAIR
  const swapped = {
    chosen: rejected,
    rejected: chosen,
    reference: [reference![1], reference![0]],
  } as const
  const { loss, reward } = lossOf(DPO, PAIR)
  const z = reward.chosen - reward.rejected
  expect(lossOf(DPO, swapped).loss - loss).toBeCloseTo(z, 14)
  const even = { ...DPO, label_smoothing: 0.5 }
  expect(lossOf(even, swapped).loss).toBeCloseTo(lossOf(even, PAIR).loss, 14)
})

test("4: without smoothing robust and conservative DPO are DPO, bit for bit", () => {
  const plain = lossOf(DPO, PAIR)
  expect(lossOf({ ...DPO, label_smoothing: 0 }, PAIR)).toEqual(plain)
  expect(lossOf({ ...DPO, loss: "robust", label_smoothing: 0 }, PAIR)).toEqual(plain)
})

test("5: as beta goes to 0 the loss goes to ln 2 and its slope to beta / 2", () => {
  const beta = 1e-6
  const { loss, gradient } = lossOf({ ...DPO, beta }, PAIR)
  expect(loss).toBeCloseTo(Math.LN2, 6)
  for (const slope of gradient.chosen) expect(slope / beta).toBeCloseTo(-0.5, 6)
  for (const slope of gradient.rejected) expect(slope / beta).toBeCloseTo(0.5, 6)
})

test("6: of answers of one token SimPO without a margin is DPO without a reference", () => {
  const pair = { chosen: [-0.7], rejected: [-1.9] }
  const simpo = lossOf({ name: "simpo", beta: 0.3, gamma: 0 }, pair)
  const free = lossOf({ ...DPO, beta: 0.3, reference: "none" }, pair)
  expect(simpo.loss).toBeCloseTo(free.loss, 15)
  expect(simpo.gradient.chosen[0]).toBeCloseTo(free.gradient.chosen[0]!, 15)
})

test("7: a prefix that both answers share is not pushed at all by a margin of sums", () => {
  const pair = { chosen: [-0.4, -0.9, -0.2], rejected: [-0.4, -1.4] }
  for (const settings of [DPO, { ...DPO, loss: "hinge" }, { name: "cpo", sft: 0 }]) {
    const { gradient } = lossOf(settings, {
      ...pair,
      reference: [
        [-0.5, -0.8, -0.3],
        [-0.5, -1],
      ],
    })
    expect(gradient.chosen[0]! + gradient.rejected[0]!).toBe(0)
  }
  // Means over answers of different lengths do push it.
  const { gradient } = lossOf({ ...DPO, loss: "ipo" }, pair)
  expect(Math.abs(gradient.chosen[0]! + gradient.rejected[0]!)).toBeGreaterThan(0.1)
})

test("10: KTO is finite, and its value at the reference half the weights, whatever the labels", () => {
  const answers = { chosen: [-0.7, -2], rejected: [-1e4] }
  const { loss } = lossOf({ name: "kto", desirable_weight: 1.5 }, answers)
  expect(loss).toBeCloseTo(0.5 * 1.5 + 0.5, 14)
  const far = lossOf("kto", { ...answers, reference: [[-1e4, -1e4], [0]] })
  expect(Number.isFinite(far.loss)).toBe(true)
})

test("10: a step of good answers alone is finite, and so is one of bad ones", () => {
  const { expression, value } = objectiveFromConfig("kto")
  for (const sign of [1, -1]) {
    const columns = {
      logp: Float64Array.of(-0.2, -1.3, -0.6),
      ref_logp: Float64Array.of(-0.5, -1, -0.9),
      pair_sign: new Float64Array(3).fill(sign),
      kl_step: 0.4,
    }
    const [values] = evaluateAll([value!], columns, [0, 0, 1])
    const { logp, ...others } = evaluate(expression, columns, [0, 0, 1]).coefficients
    // a good answer is pulled up, a bad one pushed down, and nothing goes through z0
    for (const slope of logp) expect(Math.sign(slope)).toBe(-sign)
    expect(values!.every(Number.isFinite)).toBe(true)
    expect(others).not.toHaveProperty("kl_step")
  }
})

test("11: ORPO is finite for certain and for impossible answers", () => {
  for (const a of [0, -1e-12, -1e4]) {
    const { loss, gradient } = lossOf("orpo", { chosen: [a, a], rejected: [-1, a] })
    expect([loss, ...gradient.chosen, ...gradient.rejected].every(Number.isFinite)).toBe(true)
  }
})

test("12: without its strength the chosen answers' own loss is not there", () => {
  expect(lossOf({ ...DPO, sft: 0, sft_weight: "dft" }, PAIR)).toEqual(lossOf(DPO, PAIR))
})

test("margins that are far away overflow nowhere", () => {
  for (const settings of PAIR_OBJECTIVES) {
    for (const [c, r] of [
      [-1e5, -1e-3],
      [-1e-3, -1e5],
    ] as const) {
      const { loss, gradient } = lossOf(settings, {
        chosen: [c],
        rejected: [r],
        reference: [[-1], [-1]],
      })
      expect([loss, ...gradient.chosen, ...gradient.rejected].every(Number.isFinite)).toBe(true)
    }
  }
})

test("DPO is that of a pair's four sums, reward and slope", () => {
  const total = (values: readonly number[]) => values.reduce((a, b) => a + b, 0)
  const [chosenReference, rejectedReference] = PAIR.reference!
  const judged = dpoPair(
    { chosen: total(PAIR.chosen), rejected: total(PAIR.rejected) },
    { chosen: total(chosenReference), rejected: total(rejectedReference) },
    { beta: 0.3, labelSmoothing: 0.1 },
  )
  const { loss, reward, gradient } = lossOf({ ...DPO, beta: 0.3, label_smoothing: 0.1 }, PAIR)
  expect(loss).toBeCloseTo(judged.loss, 14)
  expect(reward.chosen - reward.rejected).toBeCloseTo(judged.rewardMargin, 14)
  for (const slope of gradient.chosen) expect(-slope).toBeCloseTo(judged.advantage, 14)
})

test.each([
  [{ ...DPO, loss: "ipo", label_smoothing: 0.1 }, "objective.label_smoothing: loss ipo has none"],
  [{ ...DPO, loss: "robust", label_smoothing: 0.5 }, "take less than 0.5"],
  [{ ...DPO, normalization: "tokens" }, "tokens does not fit dpo; take pairs"],
  [{ ...DPO, length_normalized: 1 }, "expected true or false"],
  [{ ...DPO, weight_floor: 0.1 }, "it is a loss of pairs"],
  [{ name: "grpo", normalization: "paper" }, "take both signs"],
  [{ name: "grpo", dual_clip: 1.1 }, "would bind before the clip"],
  [{ name: "grpo", kl: "k1" }, "k1 in a loss pulls nowhere"],
])("%j is refused: %s", (settings, message) => {
  expect(() => objectiveFromConfig(settings)).toThrow(message)
})
