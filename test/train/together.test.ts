import { afterAll, expect, test } from "vitest"
import { type ObjectiveSettings, objectiveFromConfig } from "../../src/objectives/index.ts"
import { openDevice } from "../../src/runtime/node.ts"
import { pairBatches, type StepRow } from "../../src/train/batches.ts"
import { forwardBackward } from "../../src/train/forward-backward.ts"
import { measuredInside } from "../../src/train/loss-inputs.ts"
import { stepBatch } from "../../src/train/micro-batches.ts"
import { objectiveHead } from "../../src/train/objective-head.ts"
import type { Policy } from "../../src/train/policy.ts"
import { type SplitOptions, sharedTokens, splitGroups } from "../../src/train/split-rows.ts"
import { goldenPolicy } from "./golden-run.ts"
import { fixedOrder, memoryPairs } from "./memory-rows.ts"

const device = await openDevice({ device: "cpu", threads: 1 })
afterAll(() => device.release())

const ids = (count: number, seed: number) =>
  Array.from({ length: count }, (_, i) => 3 + ((7 * i + 11 * seed + ((i * i) % 5)) % 50))
const side = (prompt: number[], answer: number[]) => ({
  token_ids: [...prompt, ...answer],
  loss_mask: [...prompt.map(() => 0), ...answer.map(() => 1)],
})
/**
 * Prompts past a window of 8, answers that begin alike, one inside the other, and nothing in
 * common.
 */
const PAIRS = [
  {
    chosen: side(ids(21, 1), [...ids(3, 2), ...ids(9, 3)]),
    rejected: side(ids(21, 1), [...ids(3, 2), ...ids(5, 4)]),
  },
  { chosen: side(ids(12, 5), ids(6, 6)), rejected: side(ids(12, 5), ids(4, 6)) },
  { chosen: side([4], ids(9, 7)), rejected: side([5], ids(12, 8)) },
]

/** A step's rows with a reference that is some way off. */
function stepRows(): StepRow[] {
  const order = fixedOrder([0, 1, 2], 3, 3)
  return pairBatches(memoryPairs(PAIRS), order)
    .batch(1)
    .rows.map((row, r) => {
      const count = row.lossMask.reduce((sum, each) => sum + each, 0)
      const ref_logp = Float32Array.from({ length: count }, (_, t) => -4 + Math.sin(3 * r + t))
      return { ...row, columns: { ...row.columns, ref_logp } }
    })
}

async function gradientsOf(policy: Policy, settings: ObjectiveSettings, split: SplitOptions) {
  const objective = objectiveFromConfig(settings)
  const head = objectiveHead(objective, { storedReference: true })
  const batch = stepBatch(stepRows(), { ...split, normalization: objective.normalization })
  const scalars = { progress: 0, step: 1, steps: 1 }
  const parts = { policy, head, batch, scalars, normalization: objective.normalization }
  const { loss, gradientNorm, columns } = (await forwardBackward({
    ...parts,
    reference: undefined,
    seed: () => 0,
  }))!
  const gradients = new Map(
    [...policy.decoder.gradients].map(([name, { data }]) => [
      name,
      Float32Array.from(data as Float32Array),
    ]),
  )
  return { loss, gradientNorm, gradients, batch, columns }
}

function furthest(a: ReadonlyMap<string, Float32Array>, b: ReadonlyMap<string, Float32Array>) {
  const sums = [...b].map(([name, values]) => {
    const [error, size] = values.reduce(
      ([error, size], value, i) => [error + (a.get(name)![i]! - value) ** 2, size + value ** 2],
      [0, 0],
    )
    return Math.sqrt(error / (size + 1e-20))
  })
  return Math.max(...sums)
}

const APART = { capacity: 1000, packing: true }
test.each([
  ["qwen2", false],
  ["llama", true],
  ["gemma3_text", false],
  ["mistral-window", false],
] as const)(
  "%s, adapter %s: a pair together is what its sides apart are",
  async (family, adapter) => {
    const policy = await goldenPolicy({ device, family, adapter })
    for (const settings of [{ name: "dpo" }, { name: "dpo", loss: "ipo", sft: 0.5 }]) {
      const apart = await gradientsOf(policy, settings, APART)
      for (const capacity of [1000, 45, 8]) {
        const one = await gradientsOf(policy, settings, { ...APART, capacity, together: true })
        expect(Math.abs(one.loss / apart.loss - 1)).toBeLessThan(1e-5)
        expect(Math.abs(one.gradientNorm / apart.gradientNorm - 1)).toBeLessThan(1e-5)
        expect(furthest(one.gradients, apart.gradients)).toBeLessThan(1e-5)
        expect(one.batch.tokens).toBe(apart.batch.tokens)
      }
    }
    await policy.release()
  },
)

test("what sides begin with alike is computed once, where both fit and it is worth it", () => {
  const rows = stepRows()
  const [all] = splitGroups(rows, { ...APART, together: true })
  // The second pair's rejected answer lies inside the chosen one: its last token stays its own.
  expect(all!.map(({ shared, tokens }) => [shared, tokens])).toEqual([
    [24, 38],
    [15, 19],
    [0, 23],
  ])
  const small = splitGroups(rows, { ...APART, capacity: 30, together: true })
  expect(
    small
      .flat()
      .map((group) => group.rows)
      .sort(),
  ).toEqual([[0], [1], [2, 3], [4, 5]])
  expect(splitGroups(rows, { ...APART, packing: false, together: true }).flat()).toHaveLength(6)
  const long = (end: number) => Int32Array.from([1, ...Array(100).fill(end)])
  expect(sharedTokens(long(2), long(3))).toBe(0)
})

test("a micro-batch is measured on the way where it holds all that its tokens are coupled with", () => {
  const rows = stepRows()
  const inside = (name: string, capacity: number, together = true) => {
    const head = objectiveHead(objectiveFromConfig({ name }))
    const split = { capacity, packing: true, together, normalization: "tokens" } as const
    const { microBatches } = stepBatch(rows, split)
    return `${measuredInside({ head, microBatches, together }).size} of ${microBatches.length}`
  }
  expect(inside("dpo", 1000)).toBe("1 of 1")
  expect(inside("dpo", 1000, false)).toBe("0 of 1")
  expect(inside("dpo", 38)).toBe("3 of 3")
  expect(inside("dpo", 34)).toBe("2 of 4")
  expect(inside("gspo", 34)).toBe("4 of 4")
  expect(inside("eaft", 1000)).toBe("0 of 1") // it couples nothing that is measured
  expect(inside("talr", 1000)).toBe("1 of 1")
  expect(inside("talr", 34)).toBe("0 of 4")
})
