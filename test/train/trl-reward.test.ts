import { readFileSync } from "node:fs"
import { afterAll, describe, expect, test } from "vitest"
import { objectiveFromConfig } from "../../src/objectives/index.ts"
import type { StepEvent } from "../../src/run/events.ts"
import { openDevice } from "../../src/runtime/node.ts"
import { scoreBatches } from "../../src/train/batches.ts"
import { stepBatch } from "../../src/train/micro-batches.ts"
import { SCORES } from "../../src/train/objective-head.ts"
import { trainSteps } from "../../src/train/trainer.ts"
import { GOLDEN, goldenPolicy } from "./golden-run.ts"
import { fixedOrder, memoryPairs } from "./memory-rows.ts"
import { TRL_SETTINGS } from "./trl-settings.ts"

const device = await openDevice({ device: "cpu", threads: 2 })
afterAll(() => device.release())

interface Row {
  readonly prompt: readonly number[]
  readonly chosen: readonly number[]
  readonly rejected: readonly number[]
  readonly margin: number
}
interface Logged {
  readonly loss: number
  readonly grad_norm: number
  readonly margin: number
  readonly accuracy: number
}
interface Golden {
  readonly settings: {
    readonly steps: number
    readonly batch_size: number
    readonly learning_rate: number
  }
  readonly families: Readonly<
    Record<
      string,
      {
        readonly rows: readonly Row[]
        readonly score: readonly number[]
        readonly runs: Readonly<
          Record<string, { readonly scores: readonly number[]; readonly steps: readonly Logged[] }>
        >
      }
    >
  >
}

/** What TRL's RewardTrainer logged: `golden/reward_trainer.py`. */
const golden = JSON.parse(readFileSync(`${GOLDEN}trl_rewards.json`, "utf8")) as Golden
const { steps, batch_size: size, learning_rate } = golden.settings
const [PAD, EOS] = [1, 2]

function batchesOf(family: string, name: string, count = steps) {
  const { rows } = golden.families[family]!
  const text = (row: Row, answer: readonly number[]) => ({
    token_ids: [...row.prompt, ...answer],
    loss_mask: [...row.prompt.map(() => 0), ...answer.map(() => 1)],
    value: name === "margin" ? row.margin : 0,
  })
  const pairs = rows.map((row) => ({
    chosen: text(row, row.chosen),
    rejected: text(row, row.rejected),
  }))
  const order = Array.from({ length: count * size }, (_, i) => i % rows.length)
  const padTokenId = name === "eos-is-pad" ? EOS : PAD
  return scoreBatches(memoryPairs(pairs), fixedOrder(order, size, rows.length), { padTokenId })
}

const policyOf = (family: string, name: string) =>
  goldenPolicy({
    device,
    family,
    adapter: name === "lora",
    score: golden.families[family]!.score,
  })

interface Cut {
  /** Tokens of a micro-batch. */
  readonly capacity: number
  /** Steps. */
  readonly count: number
}
const WHOLE = [[256, steps]] as const
const SPLITS = [...WHOLE, [8, 3]] as const

async function run(family: string, name: string, { capacity, count }: Cut): Promise<StepEvent[]> {
  const policy = await policyOf(family, name)
  const found: StepEvent[] = []
  const events = trainSteps({
    policy,
    objective: objectiveFromConfig({
      name: "reward",
      ...(name === "centred" ? { center_rewards_coefficient: 0.05 } : {}),
    }),
    batches: batchesOf(family, name, count),
    split: { capacity, packing: true },
    evalSets: [],
    memoryBytes: () => 0,
    save: async () => "nowhere",
    settings: { learning_rate, ...TRL_SETTINGS },
  })
  for await (const event of events) if (event.type === "step") found.push(event as StepEvent)
  await policy.release()
  return found
}

const near = (a: number, b: number, floor = 1e-2) => Math.abs(a - b) / Math.max(floor, Math.abs(b))

const cases = Object.entries(golden.families).flatMap(([family, { runs }]) =>
  Object.keys(runs).map((name) => [family, name] as const),
)

test.each(cases)("%s, %s: the scores are Transformers'", async (family, name) => {
  const policy = await policyOf(family, name)
  const { rows } = batchesOf(family, name).batch(1)
  const { microBatches } = stepBatch(rows, { capacity: 256, packing: true, normalization: "pairs" })
  const expected = golden.families[family]!.runs[name]!.scores
  let count = 0
  for (const { pack, sequences } of microBatches) {
    const { score } = await policy.decoder.evaluate(pack, SCORES)
    for (const [i, sequence] of sequences.entries()) {
      expect(score![i]!).toBeCloseTo(expected[sequence]!, 5)
      count++
    }
  }
  expect(count).toBe(2 * size)
  await policy.release()
})

describe("12 steps of TRL's RewardTrainer on the same pairs", () => {
  test.each(cases)("%s, %s: loss, gradient norm, margin", async (family, name) => {
    const logged = golden.families[family]!.runs[name]!.steps
    // Every text alone: the sides of each pair are in two micro-batches. Each length is compiled.
    for (const [capacity, count] of name === "plain" && family === "llama" ? SPLITS : WHOLE) {
      const ours = await run(family, name, { capacity, count })
      expect(ours).toHaveLength(count)
      ours.forEach((step, i) => {
        const theirs = logged[i]!
        expect(near(step.loss, theirs.loss), `loss of step ${i + 1}`).toBeLessThan(1e-3)
        const apart = near(step.grad_norm, theirs.grad_norm)
        expect(apart, `gradient of step ${i + 1}`).toBeLessThan(1e-3)
        expect(near(step.reward_margin!, theirs.margin, 1), `margin of step ${i + 1}`).toBeLessThan(
          1e-3,
        )
        expect(step.reward_accuracy).toBeCloseTo(theirs.accuracy, 6)
        expect(step.token_accuracy).toBeCloseTo(theirs.accuracy, 6)
      })
    }
  })
})
