/** Rollouts of a policy that samples and measures, whatever engine computes it. */
import { askedIds } from "../../data/render.ts"
import type { Columns } from "../../data/rows/index.ts"
import type { TensorToWrite } from "../../formats/index.ts"
import type { SampleSource } from "../../generate/sample-source.ts"
import { type AskPolicy, openScoring, type Scoring } from "../../rewards/index.ts"
import type { EventBody } from "../../run/events.ts"
import type { DeviceOptions, HostTensor } from "../../runtime/index.ts"
import type { StepRow } from "../batches.ts"
import { modelReward } from "../reward-model.ts"
import type { SequenceOutputs } from "../sequence-logprobs.ts"
import { environmentSource } from "./environment.ts"
import { scoredPrompts } from "./eval-prompts.ts"
import type { RolloutPlan } from "./plan-rollouts.ts"
import { type RolloutBatches, rolloutBatches } from "./rollout-batches.ts"
import { type RolloutFileOptions, rolloutFile, type ToldRollout } from "./rollout-file.ts"

/** What an engine does of a rollout. */
export interface RolloutPolicy {
  /** Answers what the run asks the policy beside its rollouts: eval prompts, self-score. */
  readonly source: SampleSource
  /** Draws the rollouts, where that is another's. */
  readonly sampler?: SampleSource | undefined
  /** Under the policy as it is now, at the rollouts' temperature. */
  readonly measure: (rows: readonly StepRow[]) => Promise<SequenceOutputs[]>
  /** Under the reference, for objectives and rewards that compare with one. */
  readonly reference?: ((rows: readonly StepRow[]) => Promise<Float32Array[]>) | undefined
  readonly ready?: ((rollout: number) => Promise<void>) | undefined
  readonly afterRollout?: (() => Promise<void>) | undefined
  readonly moreTensors?: (() => TensorToWrite[]) | undefined
  release(): Promise<void>
}

export interface PolicyRolloutsParts {
  readonly rollout: RolloutPlan
  readonly rewards: Parameters<typeof openScoring>[0]
  /** In place of the rewards, for trials. */
  readonly scoring?: Scoring
  readonly steps: number
  readonly maskTruncated: boolean
  readonly saved?: ReadonlyMap<string, HostTensor> | undefined
  /** Where rollouts are written down. */
  readonly file: Pick<RolloutFileOptions, "folder" | "keep">
  /** Of the prompts' rows. */
  readonly columns?: Columns
  /** Of the reward models. */
  readonly threads?: DeviceOptions["threads"]
  readonly signal?: AbortSignal | undefined
}

export interface OpenRollouts {
  readonly batches: RolloutBatches
  /** Asks the eval prompts: an event a set. */
  readonly evaluate: (step: number) => AsyncGenerator<EventBody>
  release(): Promise<void>
}

export function policyRollouts(parts: PolicyRolloutsParts, policy: RolloutPolicy): OpenRollouts {
  const { rollout, signal, file } = parts
  const { prompts, settings, tokenizer, stopIds, promptOrder, evalSets } = rollout
  const { source, sampler = source } = policy
  const scoring =
    parts.scoring ??
    openScoring(parts.rewards, {
      maxNewTokens: settings.max_new_tokens,
      ask: policyAsked(source, rollout),
      openModel: (path) =>
        modelReward(path, { threads: parts.threads ?? "auto", columns: parts.columns }),
    })
  let write: ((rollout: ToldRollout) => void) | undefined
  const { environment } = rollout
  const talked = environment
    ? environmentSource({
        ...{ source: sampler, settings: environment, prompts, tokenizer, stopIds },
        ...{ template: rollout.template, maxNewTokens: settings.max_new_tokens },
      })
    : undefined
  let loading: Promise<unknown> | undefined
  const loaded = async () => {
    loading ??= Promise.all([scoring.ready?.(signal), talked?.ready(signal)])
    await loading
  }
  const batches = rolloutBatches({
    prompts,
    settings,
    source: talked ?? sampler,
    scoring,
    signal,
    steps: parts.steps,
    order: promptOrder,
    marks: {
      stopIds,
      specialIds: tokenizer.specialTokenIds,
      maskTruncated: parts.maskTruncated,
    },
    watch: {
      stops: [
        ...[...stopIds].map((id) => JSON.stringify(tokenizer.tokenText(id))),
        ...settings.stop.map((text) => JSON.stringify(text)),
      ],
      tokenText: tokenizer.tokenText,
    },
    measure: policy.measure,
    reference: policy.reference,
    ...(parts.saved ? { saved: parts.saved } : {}),
    ready: policy.ready,
    loaded,
    afterRollout: policy.afterRollout,
    moreTensors: policy.moreTensors,
    decode: (ids) => tokenizer.decode([...ids]),
    onRollout: (told) => {
      write ??= rolloutFile({ ...file, prompts, next: told.number })
      write(told)
    },
  })
  return {
    batches,
    async *evaluate(step) {
      await loaded()
      yield* scoredPrompts({ source, scoring, evalSets, settings, signal }, step)
    },
    async release() {
      await batches.release()
      await scoring.close()
      await talked?.close()
      await policy.release()
    },
  }
}

/**
 * What the policy answers to texts, each a turn of the user where the model has a chat template.
 */
function policyAsked(
  source: SampleSource,
  { tokenizer, template, settings }: RolloutPlan,
): AskPolicy {
  return async (texts, { maxNewTokens, signal }) => {
    const requests = texts.map((text) => {
      const asked = template ? { messages: [{ role: "user", content: text }] } : `${text}\n`
      const tokenIds = askedIds(asked, { tokenizer, template })
      return { prompt: { tokenIds }, n: 1, temperature: 0, maxNewTokens, seed: settings.seed }
    })
    const replies: string[] = []
    for await (const sample of source.sample(requests, signal ? { signal } : {})) {
      replies[sample.requestIndex] = sample.completion
    }
    return replies
  }
}
