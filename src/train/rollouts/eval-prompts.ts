/** How the policy fares on prompts that it is not trained on. */
import type { DataPrompt } from "../../data/prompts.ts"
import type { Sample, SampleSource } from "../../generate/sample-source.ts"
import { meanPassAtK, powersUpTo } from "../../grading/pass-at-k.ts"
import { wilsonInterval, Z975 } from "../../grading/wilson.ts"
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

/**
 * 95 % of the mean of one score a prompt. Of verdicts (0 or 1, or shares of them) it stays between
 * 0 and 1; where each prompt has one, or all are alike, it is Wilson's.
 */
export function scoreInterval(scores: readonly number[], isVerdict: boolean): [number, number] {
  const n = Math.max(1, scores.length)
  const score = mean(scores)
  const half = (Z975 * deviation(scores)) / Math.sqrt(n)
  if (!isVerdict || scores.length === 0) return [score - half, score + half]
  if (scores.some((one) => one > 0 && one < 1)) {
    return [Math.max(0, score - half), Math.min(1, score + half)]
  }
  return wilsonInterval(score, n)
}

/**
 * An `eval` event a set: the mean reward of one greedy answer a prompt, or of `eval_samples` drawn
 * at the rollouts' temperature, and then how often one of k passes. A sample passes where the first
 * reward gives it all (1 or more). None after a stop.
 */
export async function* scoredPrompts(
  { source, scoring, evalSets, settings, signal }: ScoredParts,
  step: number,
): AsyncGenerator<EventBody> {
  const { labels } = scoring
  if (labels.length === 0) return // a run that learns without rewards has no score
  const n = settings.eval_samples ?? 1
  for (const { name, prompts } of evalSets) {
    const requests = prompts.map(({ tokenIds, where }, i) => ({
      prompt: { tokenIds: [...tokenIds] },
      n,
      temperature: n === 1 ? 0 : settings.temperature,
      maxNewTokens: settings.max_new_tokens,
      stop: settings.stop,
      seed: i * 2 ** 32 + settings.seed,
      where,
    }))
    try {
      const samples: Sample[][] = prompts.map(() => [])
      for await (const sample of source.sample(requests, signal ? { signal } : {})) {
        samples[sample.requestIndex]![sample.sampleIndex] = sample
      }
      const asked = samples.flatMap((own, i) => own.map((one) => rewardSample(one, prompts[i]!)))
      const scores = await scoring.score(asked, signal)
      const ofPrompts = prompts.map((_, i) => scores.slice(i * n, (i + 1) * n))
      const said = ofPrompts.flatMap((own) => {
        const rewards = own.flatMap(({ reward }) => reward ?? [])
        return rewards.length === 0 ? [] : [mean(rewards)]
      })
      const score = mean(said)
      const isVerdict = scores.every(
        ({ reward }) => reward === null || reward === 0 || reward === 1,
      )
      const passes = ofPrompts.map((own) =>
        own.map(({ rewards }) => (rewards[labels[0]!] ?? 0) >= 1),
      )
      yield {
        type: "eval",
        step,
        name,
        score,
        n: said.length,
        ci95: scoreInterval(said, isVerdict),
        ...(n > 1
          ? {
              pass_at: Object.fromEntries(
                powersUpTo(n).map((k) => [String(k), meanPassAtK(passes, k)]),
              ),
            }
          : {}),
      }
    } catch (error) {
      if (signal?.aborted) return
      throw error
    }
  }
}
