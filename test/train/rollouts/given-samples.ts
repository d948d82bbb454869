import { rolloutBatches } from "../../../src/train/rollouts/rollout-batches.ts"

export type GivenSettings = Parameters<typeof rolloutBatches>[0]["settings"]

const PROMPTS = Array.from({ length: 4 }, (_, i) => ({
  where: `given:${i + 1}`,
  asked: "",
  tokenIds: Int32Array.of(1, 3 + i),
  row: {},
}))

/**
 * Rollouts without a model: every sample is two tokens, which the sampler gives ln p = -1 each and
 * training -1 + `apart`; the first of a group is rewarded.
 */
export function givenRollouts(
  apart: number | (() => number),
  settings: Partial<GivenSettings> = {},
  more: Partial<Parameters<typeof rolloutBatches>[0]> = {},
) {
  return rolloutBatches({
    prompts: PROMPTS,
    steps: 8,
    source: {
      async *sample(requests) {
        for (const [requestIndex, { n }] of requests.entries()) {
          for (let sampleIndex = 0; sampleIndex < n; sampleIndex++) {
            const tokenIds = [5 + sampleIndex, 2]
            const rest = { completion: "", finishReason: "stop", seed: 0 }
            yield { requestIndex, sampleIndex, tokenIds, logprobs: [-1, -1], ...rest }
          }
        }
      },
    },
    scoring: {
      labels: ["first"],
      score: async (samples) =>
        samples.map((_, i) => ({ reward: i === 0 ? 1 : 0, rewards: { first: i === 0 ? 1 : 0 } })),
      close: async () => {},
    },
    order: { stepRows: (step) => Int32Array.of(step % PROMPTS.length), rowsPerEpoch: 4 },
    marks: { stopIds: new Set([2]), specialIds: new Set(), maskTruncated: false },
    watch: { stops: [], tokenText: String },
    decode: () => "",
    measure: async (rows) => {
      const gap = typeof apart === "number" ? apart : apart()
      return rows.map(({ lossMask }) => {
        const { length } = lossMask.filter((mask) => mask === 1)
        return {
          logp: new Float32Array(length).fill(-1 + gap),
          entropy: new Float32Array(length).fill(1),
        }
      })
    },
    settings: {
      ...{ num_generations: 2, num_iterations: 1, temperature: 1, top_p: 1, top_k: 0 },
      ...{ max_new_tokens: 8, stop: [], seed: 0, promptsPerRollout: 2, batchSize: 4 },
      ...{ filter_groups: "none", max_resamples: 1, kl_in_reward: 0, importance_cap: 2 },
      weighsSampler: false,
      rule: { baseline: "group", scale: "none" },
      ...settings,
    },
    ...more,
  })
}
