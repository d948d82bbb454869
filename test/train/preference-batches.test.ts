import { expect, test } from "vitest"
import { objectiveFromConfig } from "../../src/objectives/index.ts"
import { labelBatches, mismatchedRows, pairBatches } from "../../src/train/batches.ts"
import { type StepResult, scaledSum } from "../../src/train/forward-backward.ts"
import { divisor, stepBatch } from "../../src/train/micro-batches.ts"
import { objectiveHead } from "../../src/train/objective-head.ts"
import { checkReference } from "../../src/train/reference-check.ts"
import { rewardColumns } from "../../src/train/rewarded-batches.ts"
import { outcomesOf, pairFields } from "../../src/train/step-outcomes.ts"
import { fixedOrder, memoryPairs, memoryRows } from "./memory-rows.ts"

const row = (prompt: number[], answer: number[], more = {}) => ({
  token_ids: [...prompt, ...answer],
  loss_mask: [...prompt.map(() => 0), ...answer.map(() => 1)],
  ...more,
})
const pairs = [
  { chosen: row([5, 6], [7, 8, 2]), rejected: row([5, 6], [9, 2]) },
  { chosen: row([5], [7, 2], { weight: 3 }), rejected: row([5], [9, 9, 9, 2], { weight: 3 }) },
  { chosen: row([4], [2]), rejected: row([4], [3, 2]) },
]

test("a step of pairs is its sides in turn, wherever they are computed, and divided by its pairs", () => {
  const batches = pairBatches(memoryPairs(pairs), fixedOrder([0, 2, 1], 2, 3))
  expect(batches.lengths(1)).toEqual([5, 4, 2, 3])
  const { rows } = batches.batch(1)
  expect(rows.map(({ columns }) => columns!.pair_sign)).toEqual([1, -1, 1, -1])
  for (const capacity of [5, 100]) {
    const batch = stepBatch(rows, { capacity, packing: true, normalization: "pairs" })
    expect(batch.microBatches.length).toBe(capacity === 5 ? 3 : 1)
    expect(divisor("pairs", batch, 0)).toBe(2)
    const places = batch.microBatches.flatMap(({ sequences, columns }) =>
      [...sequences].map((sequence, t) => [sequence, columns.position![t]]),
    )
    expect(places).toContainEqual([0, 2])
    expect(new Set(places.map(([sequence]) => sequence))).toEqual(new Set([0, 1, 2, 3]))
  }
  // The last step has one pair, which counts three times, in the sum and in the divisor.
  const last = stepBatch(batches.batch(2).rows, {
    capacity: 100,
    packing: true,
    normalization: "pairs",
  })
  expect(divisor("pairs", last, 0)).toBe(3)
  expect([...last.microBatches[0]!.scale]).toEqual(Array(6).fill(3))
})

test("KTO's other answers: an offset, so that of two and more no prompt has its own", () => {
  const rows = [row([5, 6], [7, 8, 2]), row([5], [9, 2]), row([4, 4, 4], [3, 2])]
  const batches = labelBatches(memoryRows(rows), fixedOrder([0, 1, 2], 3, 3), { maxLength: 5 })
  const { mismatched } = batches.batch(1)
  expect(mismatched!.rows.map(({ tokenIds }) => [...tokenIds])).toEqual([
    [5, 6, 3, 2],
    [5, 7, 8, 2],
    [4, 4, 4, 9, 2],
  ])
  expect(mismatched!.rows.map(({ lossMask }) => [...lossMask])).toEqual([
    [0, 0, 1, 1],
    [0, 1, 1, 1],
    [0, 0, 0, 1, 1],
  ])
  const cut = mismatchedRows(batches.batch(1).rows, 3).map(({ tokenIds }) => tokenIds.length)
  expect(cut).toEqual([3, 3, 3])
})

test("rewards are compared among the answers to one prompt", () => {
  const { row_weight, advantage } = rewardColumns([1, 0, 0.5, 7], ["a", "a", "b", "b"], {
    tau: 1,
    cap: 1.5,
  })
  const mean = (1 + Math.exp(-1)) / 2
  expect(row_weight[0]).toBeCloseTo(1 / mean, 6)
  expect(row_weight[1]).toBeCloseTo(Math.exp(-1) / mean, 6)
  expect(row_weight[3]).toBe(1.5)
  expect([...advantage]).toEqual([0.5, -0.5, -3.25, 3.25])
})

test("both sides are told with their rewards; a pair is right only where the chosen one is ahead", () => {
  const head = objectiveHead(objectiveFromConfig({ name: "dpo", beta: 0.5 }))
  const step = {
    columns: {
      logp: Float32Array.of(-1, -2, -3, -4, -1),
      ref_logp: Float32Array.of(-2, -2, -3, -3, -1),
      pair_sign: Float32Array.of(1, 1, -1, 1, -1),
      position: Float32Array.of(0, 1, 0, 0, 0),
    },
    scalars: {},
    sequences: Int32Array.of(0, 0, 1, 2, 3),
  }
  const fields = pairFields(outcomesOf(step, head.measured(step)), true)
  expect(fields).toMatchObject({
    reward_chosen: (0.5 - 0.5) / 2,
    reward_rejected: 0,
    reward_margin: 0,
    reward_accuracy: 0.5,
    logp_chosen: -3.5,
    logp_rejected: -2,
    nll_chosen: 7 / 3,
  })
})

test("a first step that is not at its reference stops; in bfloat16 rounding alone does not", () => {
  const head = objectiveHead(objectiveFromConfig("dpo"))
  const rows = pairBatches(memoryPairs(pairs), fixedOrder([0, 1], 2, 3)).batch(1).rows
  const batch = stepBatch(rows, { capacity: 100, packing: true, normalization: "pairs" })
  const [{ sequences, columns }] = batch.microBatches as [(typeof batch.microBatches)[number]]
  const result = (apart: (t: number) => number) => {
    const logp = Float32Array.from(sequences, (_, t) => -1 - t / 10)
    const step = {
      columns: { ...columns, logp, ref_logp: logp.map((x, t) => x + apart(t)) },
      scalars: {},
      sequences: Int32Array.from(sequences),
    }
    const [divided, loss] = [
      divisor("pairs", batch, 0),
      scaledSum(head.value!(step), batch.microBatches),
    ]
    return { batch, loss: loss / divided, divisor: divided, columns: step } as unknown as StepResult
  }
  const check = (apart: (t: number) => number, precision: "fp32" | "bf16") => () =>
    checkReference(head, result(apart), precision)
  const rounded = (t: number) => (t % 3 === 0 ? 0.04 : -0.02)
  const another = (t: number) => (t % 3 === 0 ? 0.4 : -0.2)
  for (const precision of ["fp32", "bf16"] as const) {
    expect(check(() => 0, precision)).not.toThrow()
    expect(check(another, precision)).toThrow(/reference-mismatch: .* 0\.69\d+.* 0\.2\d nats apart/)
    expect(check(() => Number.NaN, precision)).toThrow("reference-mismatch")
  }
  expect(check(rounded, "fp32")).toThrow(/0.027 nats apart on average/)
  expect(check(rounded, "bf16")).not.toThrow()
})
