import { LocalSource } from "../generate/index.ts"
import { progressMeter } from "../report/progress.ts"
import type { EventBody } from "../run/events.ts"
import { loadTokenizer, stopTokenIds, type Tokenizer } from "../text/index.ts"
import type { DataPlan } from "./plan.ts"
import type { Policy } from "./policy.ts"

/** Samples a run's prompts as the model is at a step; none after `signal` asks to stop. */
export type Sampler = (step: number, signal?: AbortSignal) => AsyncGenerator<EventBody>

/** A prompt of the run's own rows, and what its row answers. */
export interface SamplePrompt {
  readonly tokenIds: number[]
  /**
   * Supervised tokens that follow the prompt, up to the next that are not; none of rows of prompts.
   */
  readonly answer: number[]
}

/**
 * The prompts of the first rows of the first eval set (else of the training rows): what precedes
 * the first supervised token.
 */
export function samplePrompts({ evalSets, rows, config }: DataPlan): SamplePrompt[] {
  const from = evalSets[0]?.rows ?? rows
  const count = Math.min(config.generate_samples?.prompts ?? 0, from.rows)
  return Array.from({ length: count }, (_, i) => {
    const { tokenIds, lossMask } = from.row(i)
    const begin = Math.max(1, lossMask.indexOf(1))
    const end = lossMask.indexOf(0, begin)
    const answer = lossMask[begin] === 1 ? tokenIds.subarray(begin, end < 0 ? undefined : end) : []
    return { tokenIds: [...tokenIds.subarray(0, begin)], answer: [...answer] }
  })
}

/** The field of a `sample` event. */
export function referenceOf(
  { answer }: SamplePrompt,
  tokenizer: Pick<Tokenizer, "decode">,
): { readonly reference?: string } {
  const reference = tokenizer.decode(answer, { skipSpecialTokens: true })
  return reference === "" ? {} : { reference }
}

/**
 * Greedy completions of a few prompts from the weights that are being trained; nothing is copied.
 * undefined when the config asks for none.
 */
export async function sampler(
  plan: DataPlan,
  policy: Policy,
  onProgress: (message: string) => void = () => {},
): Promise<Sampler | undefined> {
  const settings = plan.config.generate_samples
  if (!settings) return undefined
  const tokenizer = await loadTokenizer(plan.modelFolder)
  const stops = await stopTokenIds(plan.modelFolder, tokenizer)
  const prompts = samplePrompts(plan)
  const references = prompts.map((prompt) => referenceOf(prompt, tokenizer))
  const requests = prompts.map(({ tokenIds }) => ({
    prompt: { tokenIds },
    n: 1,
    temperature: 0,
    maxNewTokens: settings.max_new_tokens,
    seed: plan.config.seed,
  }))
  const { decoder } = policy
  const source = new LocalSource({
    model: decoder,
    tokenizer,
    template: null,
    stopTokenIds: stops,
  })
  const most = requests.length * settings.max_new_tokens
  return async function* (step, signal) {
    const meter = progressMeter("sampling", { unit: "tokens at most" })
    let said = 0
    const onToken = () => onProgress(meter(++said, most))
    const told = { onToken, ...(signal ? { signal } : {}) }
    try {
      for await (const sample of source.sample(requests, told)) {
        yield {
          type: "sample",
          step,
          prompt: tokenizer.decode(requests[sample.requestIndex]!.prompt.tokenIds),
          completion: sample.completion,
          ...references[sample.requestIndex]!,
          tokens: sample.tokenIds.map((id) => tokenizer.tokenText(id)),
          probabilities: sample.logprobs.map((logp) => Math.exp(logp)),
        }
      }
    } catch (error) {
      if (!signal?.aborted || error !== signal.reason) throw error
    }
  }
}
