/** Groups of samples from the policy itself, rewarded as they come. */
import type { DataPrompt } from "../../data/prompts.ts"
import { assert } from "../../errors.ts"
import type { Sample, SampleRequest, SampleSource } from "../../generate/sample-source.ts"
import type { RewardSample, Scoring } from "../../rewards/index.ts"
import type { RolloutSample } from "./rollout.ts"

export interface SamplingSettings {
  readonly num_generations: number
  readonly temperature: number
  readonly top_p: number
  readonly top_k: number
  readonly max_new_tokens: number
  readonly stop: readonly string[]
  /** Of the run. */
  readonly seed: number
}

export interface SamplingParts {
  readonly source: SampleSource
  readonly scoring: Scoring
  readonly prompts: readonly DataPrompt[]
  readonly settings: SamplingSettings
  /** A token sequence's text. */
  readonly decode: (tokenIds: Int32Array) => string
  readonly signal?: AbortSignal | undefined
}

export interface Wanted {
  /** Indices of the prompts; one may come twice. */
  readonly prompts: readonly number[]
  /** The number of the first group. */
  readonly firstGroup: number
  readonly rollout: number
  readonly attempt: number
}

/** Prompts of a run fit beside its seed in 53 bits. */
const MOST_PROMPTS = 2 ** 21

/**
 * Samples every wanted group and has it rewarded while the next is sampled. What a sample becomes is
 * a function of the weights, the run's seed, its prompt, its place in the group, the rollout and the
 * attempt: a rollout that is made again is the same.
 *
 * @throws the signal's reason when it is aborted; InputError of a reward
 */
export async function rewardedGroups(
  { source, scoring, prompts, settings, decode, signal }: SamplingParts,
  wanted: Wanted,
): Promise<RolloutSample[]> {
  const n = settings.num_generations
  const requests = requestsOf(prompts, settings, wanted)
  const groups = requests.map((): Sample[] => [])
  const scored: Promise<RolloutSample[]>[] = []
  const reward = (group: number) => {
    const asked = wanted.prompts[group]!
    const place = { prompt: asked, group: wanted.firstGroup + group, attempt: wanted.attempt }
    const shown = demonstrationIn(prompts[asked]!, n, decode)
    const all = shown ? [...groups[group]!, shown] : groups[group]!
    return rewardedGroup(all, prompts[asked]!, { place, scoring, signal })
  }
  try {
    for await (const sample of source.sample(requests, signal ? { signal } : {})) {
      const group = groups[sample.requestIndex]!
      group.push(sample)
      if (group.length < n) continue
      const done = reward(sample.requestIndex)
      done.catch(() => {}) // told when all are awaited
      scored[sample.requestIndex] = done
    }
    return (await Promise.all(scored)).flat()
  } catch (error) {
    await Promise.allSettled(scored)
    throw error
  }
}

function requestsOf(
  prompts: readonly DataPrompt[],
  settings: SamplingSettings,
  { prompts: wanted, rollout: number, attempt }: Wanted,
): SampleRequest[] {
  const { num_generations: n, temperature, top_p, top_k, max_new_tokens, stop, seed } = settings
  const asked = new Map<number, number>()
  return wanted.map((index) => {
    assert(index < MOST_PROMPTS, `prompt ${index}: at most ${MOST_PROMPTS} have seeds of their own`)
    const before = asked.get(index) ?? 0
    asked.set(index, before + 1)
    const { tokenIds, where } = prompts[index]!
    return {
      prompt: { tokenIds: [...tokenIds] },
      n,
      temperature,
      ...(top_p < 1 ? { topP: top_p } : {}),
      ...(top_k > 0 ? { topK: top_k } : {}),
      maxNewTokens: max_new_tokens,
      stop,
      seed: index * 2 ** 32 + seed,
      rollout: { number, attempt, first: before * n },
      where,
    }
  })
}

/** A prompt's demonstration, as if it were the sample after the last. */
function demonstrationIn(
  { demonstration }: DataPrompt,
  sampleIndex: number,
  decode: SamplingParts["decode"],
): (Sample & { readonly expert: true }) | undefined {
  if (demonstration === undefined) return undefined
  const tokenIds = [...demonstration]
  return {
    ...{ requestIndex: 0, sampleIndex, tokenIds, expert: true as const, seed: 0 },
    completion: decode(demonstration),
    // the policy says how likely it was
    logprobs: tokenIds.map(() => 0),
    finishReason: "stop",
  }
}

interface GroupParts {
  readonly place: Pick<RolloutSample, "prompt" | "group" | "attempt">
  readonly scoring: Scoring
  readonly signal: AbortSignal | undefined
}

async function rewardedGroup(
  samples: readonly (Sample & { readonly expert?: true })[],
  prompt: DataPrompt,
  { place, scoring, signal }: GroupParts,
): Promise<RolloutSample[]> {
  const inOrder = samples.toSorted((a, b) => a.sampleIndex - b.sampleIndex)
  const scores = await scoring.score(
    inOrder.map((sample) => rewardSample(sample, prompt)),
    signal,
  )
  return inOrder.map((sample, i) => ({
    ...place,
    sampleIndex: sample.sampleIndex,
    completion: sample.completion,
    tokenIds: sample.tokenIds,
    samplingLogp: Float32Array.from(sample.logprobs),
    finishReason: sample.finishReason,
    ...(sample.expert ? { expert: sample.expert } : {}),
    ...scores[i]!,
  }))
}

export function rewardSample(
  { completion, tokenIds, finishReason }: Sample,
  { asked, row, where }: DataPrompt,
): RewardSample {
  const prompt = typeof asked === "string" ? asked : asked.messages
  return { prompt, completion, token_ids: tokenIds, finish_reason: finishReason, row, where }
}
