import { readFileSync } from "node:fs"
import { afterAll, describe, expect, test } from "vitest"
import type { SampleSource } from "../../../src/generate/index.ts"
import {
  normalizedAdvantage,
  type ObjectiveSettings,
  objectiveFromConfig,
} from "../../../src/objectives/index.ts"
import type { StepEvent } from "../../../src/run/events.ts"
import { openDevice } from "../../../src/runtime/node.ts"
import { storesReference } from "../../../src/train/objective-batches.ts"
import { sampledRow } from "../../../src/train/rollouts/rollout.ts"
import { rolloutBatches } from "../../../src/train/rollouts/rollout-batches.ts"
import { sequenceLogprobs, sequenceOutputs } from "../../../src/train/sequence-logprobs.ts"
import { trainSteps } from "../../../src/train/trainer.ts"
import { GOLDEN, goldenPolicy } from "../golden-run.ts"
import { TRL_SETTINGS } from "../trl-settings.ts"

const device = await openDevice({ device: "cpu", threads: 2 })
afterAll(() => device.release())

interface Group {
  readonly prompt: readonly number[]
  readonly samples: readonly (readonly number[])[]
  readonly rewards: readonly number[]
}
interface Golden {
  readonly settings: Readonly<
    Record<"steps" | "prompts" | "num_generations" | "num_iterations" | "learning_rate", number>
  >
  readonly families: Readonly<
    Record<
      string,
      {
        readonly rollouts: readonly (readonly Group[])[]
        readonly runs: Readonly<
          Record<string, readonly { readonly loss: number; readonly grad_norm: number }[]>
        >
      }
    >
  >
}

/** What TRL's trainers logged: `golden/rollout_trainers.py`. */
const golden = JSON.parse(readFileSync(`${GOLDEN}trl_rollouts.json`, "utf8")) as Golden
const { steps, prompts: perRollout, num_generations, num_iterations } = golden.settings

const OURS: Readonly<
  Record<string, { objective: ObjectiveSettings; kl_in_reward?: number; rate?: number }>
> = {
  grpo: { objective: { name: "grpo" } },
  "grpo-kl": { objective: { name: "grpo", beta: 0.1, kl: "k3-ratio" } },
  dapo: { objective: { name: "dapo" } },
  rloo: { objective: { name: "rloo" }, kl_in_reward: 0.05, rate: 1e-4 },
}

const MARKS = { stopIds: new Set([2]), specialIds: new Set<number>(), maskTruncated: false }

async function run(family: string, name: string, capacity: number): Promise<StepEvent[]> {
  const groups = golden.families[family]!.rollouts.flat()
  const { objective: settings, kl_in_reward = 0, rate } = OURS[name]!
  const objective = objectiveFromConfig(settings)
  const policy = await goldenPolicy({ device, family })
  const frozen = await goldenPolicy({ device, family })
  const split = { capacity, packing: true }
  const prompts = groups.map(({ prompt }, i) => ({
    where: `golden:${i + 1}`,
    asked: "",
    tokenIds: Int32Array.from(prompt),
    row: { group: i },
  }))
  // what was sampled is given; how likely it was, the policy says
  const source: SampleSource = {
    async *sample(requests) {
      for (const [requestIndex, { where }] of requests.entries()) {
        const at = prompts.findIndex((prompt) => prompt.where === where)
        const rows = groups[at]!.samples.map((tokenIds) =>
          sampledRow(prompts[at]!, { tokenIds, finishReason: "stop" }, MARKS),
        )
        const logprobs = await sequenceLogprobs(policy.decoder, rows, { split })
        for (const [sampleIndex, tokenIds] of groups[at]!.samples.entries()) {
          yield {
            requestIndex,
            sampleIndex,
            completion: "",
            tokenIds,
            logprobs: [...logprobs[sampleIndex]!],
            finishReason: "stop",
            seed: 0,
          }
        }
      }
    },
  }
  const scoring = {
    labels: ["given"],
    async score(samples: readonly { readonly row: object }[]) {
      const { rewards } = groups[(samples[0]!.row as { group: number }).group]!
      return rewards.map((reward) => ({ reward, rewards: { given: reward } }))
    },
    close: async () => {},
  }
  const rollout = { num_generations, advantage: null, scale_rewards: null }
  const batches = rolloutBatches({
    prompts,
    steps,
    source,
    scoring,
    order: { stepRows: (step) => Int32Array.of(step), rowsPerEpoch: groups.length },
    marks: MARKS,
    watch: { stops: [], tokenText: String },
    decode: () => "",
    measure: (rows) => sequenceOutputs(policy.decoder, rows, { split }),
    reference: (rows) => sequenceLogprobs(frozen.decoder, rows, { split }),
    settings: {
      num_generations,
      num_iterations,
      kl_in_reward,
      temperature: 1,
      top_p: 1,
      top_k: 0,
      max_new_tokens: 16,
      stop: [],
      seed: 0,
      promptsPerRollout: perRollout!,
      batchSize: perRollout! * num_generations!,
      filter_groups: "none",
      max_resamples: 1,
      importance_cap: 2,
      weighsSampler: false,
      rule: normalizedAdvantage(settings.name, rollout),
    },
  })
  const found: StepEvent[] = []
  const events = trainSteps({
    policy,
    objective,
    batches,
    split,
    evalSets: [],
    storedReference: storesReference(objective),
    maxTokens: 16,
    memoryBytes: () => 0,
    save: async () => "nowhere",
    settings: {
      learning_rate: rate ?? golden.settings.learning_rate,
      ...TRL_SETTINGS,
    },
  })
  for await (const event of events) if (event.type === "step") found.push(event as StepEvent)
  await policy.release()
  await frozen.release()
  return found
}

const near = (a: number, b: number, floor = 1e-1) => Math.abs(a - b) / Math.max(floor, Math.abs(b))

const cases = Object.entries(golden.families).flatMap(([family, { runs }]) =>
  Object.keys(runs).map((name) => [family, name] as const),
)

describe("10 steps of TRL's trainers on the same samples and rewards", () => {
  test.each(cases)("%s, %s: loss and gradient norm", async (family, name) => {
    const logged = golden.families[family]!.runs[name]!
    // every sample alone too: the split into micro-batches changes nothing
    for (const capacity of name === "grpo" ? [256, 8] : [256]) {
      const ours = await run(family, name, capacity)
      expect(ours).toHaveLength(logged.length)
      ours.forEach((step, i) => {
        const { loss, grad_norm } = logged[i]!
        expect(near(step.loss, loss), `loss of step ${i + 1}`).toBeLessThan(1e-3)
        expect(near(step.grad_norm, grad_norm), `gradient of step ${i + 1}`).toBeLessThan(1e-3)
      })
    }
  })
})
