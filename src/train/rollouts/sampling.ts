/** Groups of samples from the policy itself, rewarded as they come. */
import type { DataPrompt } from "../../data/prompts.ts"
import { assert } from "../../errors.ts"
import type { Sample, SampleRequest, SampleSource } from "../../generate/sample-source.ts"
import { randomStream } from "../../random.ts"
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
  /** Demonstrations beside the samples of each prompt. */
  readonly demonstrations?: number
  readonly prefix?: PrefixSettings | null
  /** Of each eval prompt. */
  readonly eval_samples?: number
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
  /** Share of the run that is behind. */
  readonly done: number
  /** Where its streams of random numbers begin; 0 if left out. */
  readonly stream?: number
}

/** Prompts of a run fit beside its seed in 53 bits. */
const MOST_PROMPTS = 2 ** 21

export interface RewardedGroups {
  readonly samples: readonly RolloutSample[]
  /** What rewards took beyond sampling: they are asked for while the next group is sampled. */
  readonly gradingSeconds: number
}

/**
 * Samples every wanted group and has it rewarded while the next is sampled. What a sample becomes
 * is a function of the weights, the run's seed, its prompt, its place in the group, the rollout and
 * the attempt: a rollout that is made again is the same.
 *
 * @throws the signal's reason when it is aborted; InputError of a reward
 */
export async function rewardedGroups(
  { source, scoring, prompts, settings, decode, signal }: SamplingParts,
  wanted: Wanted,
): Promise<RewardedGroups> {
  const n = settings.num_generations
  const asked = askedSamples(prompts, settings, wanted)
  const groups = wanted.prompts.map((): SampledOne[] => [])
  const scored: Promise<RolloutSample[]>[] = []
  const reward = (group: number) => {
    const index = wanted.prompts[group]!
    const place = { prompt: index, group: wanted.firstGroup + group, attempt: wanted.attempt }
    const shown = settings.demonstrations ? demonstrationIn(prompts[index]!, n, decode) : undefined
    const all = shown ? [...groups[group]!, shown] : groups[group]!
    return rewardedGroup(all, prompts[index]!, { place, scoring, signal })
  }
  const requests = asked.map(({ request }) => request)
  try {
    for await (const sample of source.sample(requests, signal ? { signal } : {})) {
      const { group, prefix, firstSample } = asked[sample.requestIndex]!
      const sampleIndex = firstSample + sample.sampleIndex
      groups[group]!.push({ ...begun(sample, prefix, decode), sampleIndex })
      if (groups[group]!.length < n || scoring.asksPolicy) continue
      const done = reward(group)
      done.catch(() => {}) // told when all are awaited
      scored[group] = done
    }
    const sampled = performance.now()
    const samples = scoring.asksPolicy
      ? await inTurn(groups.keys(), reward)
      : (await Promise.all(scored)).flat()
    return { samples, gradingSeconds: (performance.now() - sampled) / 1000 }
  } catch (error) {
    await Promise.allSettled(scored)
    throw error
  }
}

/** One group after the other: the policy answers one question at a time. */
async function inTurn(
  groups: Iterable<number>,
  reward: (group: number) => Promise<RolloutSample[]>,
): Promise<RolloutSample[]> {
  const all: RolloutSample[] = []
  for (const group of groups) all.push(...(await reward(group)))
  return all
}

type SampledOne = Sample & { readonly expert?: true; readonly prefix?: number }

interface AskedSamples {
  readonly request: SampleRequest
  readonly group: number
  /** The place in its group of the request's first sample. */
  readonly firstSample: number
  /** The ids of a demonstration that it goes on from. */
  readonly prefix: Int32Array | undefined
}

function askedSamples(
  prompts: readonly DataPrompt[],
  settings: SamplingSettings,
  wanted: Wanted,
): AskedSamples[] {
  const { num_generations: n, temperature, top_p, top_k, max_new_tokens, stop, seed } = settings
  const { rollout: number, attempt, stream = 0 } = wanted
  const asked = new Map<number, number>()
  return wanted.prompts.flatMap((index, group) => {
    assert(index < MOST_PROMPTS, `prompt ${index}: at most ${MOST_PROMPTS} have seeds of their own`)
    const before = asked.get(index) ?? 0
    asked.set(index, before + 1)
    const { tokenIds, where } = prompts[index]!
    const of = (firstSample: number, count: number, prefix?: Int32Array): AskedSamples => ({
      group,
      firstSample,
      prefix,
      request: {
        prompt: { tokenIds: [...tokenIds, ...(prefix ?? [])] },
        n: count,
        temperature,
        ...(top_p < 1 ? { topP: top_p } : {}),
        ...(top_k > 0 ? { topK: top_k } : {}),
        maxNewTokens: max_new_tokens - (prefix?.length ?? 0),
        stop,
        seed: index * 2 ** 32 + seed,
        rollout: { number, attempt, first: stream + before * n + firstSample },
        where,
      },
    })
    const prefixes = prefixesOf(prompts[index]!, settings, { ...wanted, index, before })
    const plain = n - prefixes.length
    const begun = prefixes.map((prefix, i) => of(plain + i, 1, prefix))
    return plain > 0 ? [of(0, plain), ...begun] : begun
  })
}

export interface PrefixSettings {
  /** Samples of each prompt that go on from its demonstration. */
  readonly samples: number
  readonly low_start: number
  readonly low_end: number
  readonly high: number
}

/**
 * The beginnings that samples go on from: a share of the demonstration drawn evenly from [low,
 * high], where low falls from low_start to low_end along half a cosine. One token at least is left
 * to sample.
 */
function prefixesOf(
  { demonstration }: DataPrompt,
  { prefix, seed }: SamplingSettings,
  place: Wanted & { readonly index: number; readonly before: number },
): Int32Array[] {
  if (!prefix || demonstration === undefined) return []
  const { samples, low_start, low_end, high } = prefix
  const low = low_end + ((low_start - low_end) * (1 + Math.cos(Math.PI * place.done))) / 2
  const { rollout, attempt, index, before } = place
  const random = randomStream(seed, `prefix ${rollout} ${attempt} ${index} ${before}`)
  return Array.from({ length: samples }, () => {
    const length = Math.floor((low + random() * (high - low)) * demonstration.length)
    return demonstration.slice(0, Math.min(demonstration.length - 1, length))
  })
}

/** A sample with what it went on from before it. */
function begun(
  sample: Sample,
  prefix: Int32Array | undefined,
  decode: SamplingParts["decode"],
): SampledOne {
  if (prefix === undefined || prefix.length === 0) return sample
  return {
    ...sample,
    prefix: prefix.length,
    tokenIds: [...prefix, ...sample.tokenIds],
    logprobs: [...new Float32Array(prefix.length), ...sample.logprobs],
    completion: decode(prefix) + sample.completion,
  }
}

/** A prompt's demonstration, as if it were the sample after the last. */
function demonstrationIn(
  { demonstration }: DataPrompt,
  sampleIndex: number,
  decode: SamplingParts["decode"],
): SampledOne | undefined {
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
  samples: readonly SampledOne[],
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
    ...(sample.prefix ? { prefix: sample.prefix } : {}),
    ...(sample.context ? { context: sample.context } : {}),
    ...scores[i]!,
  }))
}

export function rewardSample(
  { completion, tokenIds, finishReason, messages }: Sample,
  { asked, row, where }: DataPrompt,
): RewardSample {
  const prompt = typeof asked === "string" ? asked : asked.messages
  const whole = messages ? { messages } : {}
  return {
    ...{ prompt, completion, ...whole },
    ...{ token_ids: tokenIds, finish_reason: finishReason, row, where },
  }
}
