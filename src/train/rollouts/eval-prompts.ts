/** How the policy fares on prompts that it is not trained on: greedy answers, rewarded. */
import type { DataPrompt } from "../../data/prompts.ts"
import type { Sample, SampleSource } from "../../generate/sample-source.ts"
import type { Scoring } from "../../rewards/index.ts"
import type { EventBody } from "../../run/events.ts"
import { deviation, mean } from "./advantages.ts"
import { rewardSample, type SamplingSettings } from "./sampling.ts"

export interface ScoredParts {
  readonly source: SampleSource
  readonly scoring: Scoring
  readonly evalSets: readonly { readonly name: string; readonly prompts: readonly DataPrompt[] }[]
  readonly settings: SamplingSettings
  readonly signal?: AbortSignal | undefined
}

/** Of the normal distribution, for an interval that holds the mean in 95 of 100 cases. */
const Z95 = 1.959964

/** An `eval` event a set: the mean reward of one greedy answer a prompt. None after a stop. */
export async function* scoredPrompts(
  { source, scoring, evalSets, settings, signal }: ScoredParts,
  step: number,
): AsyncGenerator<EventBody> {
  if (scoring.labels.length === 0) return // a run that learns without rewards has no score
  for (const { name, prompts } of evalSets) {
    const requests = prompts.map(({ tokenIds, where }) => ({
      prompt: { tokenIds: [...tokenIds] },
      n: 1,
      temperature: 0,
      maxNewTokens: settings.max_new_tokens,
      stop: settings.stop,
      seed: settings.seed,
      where,
    }))
    try {
      const samples: Sample[] = []
      for await (const sample of source.sample(requests, signal ? { signal } : {})) {
        samples[sample.requestIndex] = sample
      }
      const asked = samples.map((sample, i) => rewardSample(sample, prompts[i]!))
      const scores = await scoring.score(asked, signal)
      const said = scores.flatMap(({ reward }) => reward ?? [])
      const score = mean(said)
      const half = (Z95 * deviation(said)) / Math.sqrt(Math.max(1, said.length))
      yield {
        type: "eval",
        step,
        name,
        score,
        n: said.length,
        ci95: [score - half, score + half],
      }
    } catch (error) {
      if (signal?.aborted) return
      throw error
    }
  }
}
