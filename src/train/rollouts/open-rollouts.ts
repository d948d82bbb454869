/** What rollouts are made with: the policy as sampler, the rewards, and what measures. */
import { rm } from "node:fs/promises"
import { join } from "node:path"
import { askedIds } from "../../data/render.ts"
import type { Columns } from "../../data/rows/index.ts"
import { LocalSource } from "../../generate/local-source.ts"
import { needs, type Objective } from "../../objectives/index.ts"
import { type AskPolicy, openScoring, type Scoring } from "../../rewards/index.ts"
import type { EventBody } from "../../run/events.ts"
import type { Device, DeviceOptions, HostTensor } from "../../runtime/index.ts"
import { type OpenReference, openFrozenModel } from "../frozen-model.ts"
import { storesReference } from "../objective-batches.ts"
import { crossEntropyAt } from "../objective-head.ts"
import { modelReward } from "../reward-model.ts"
import { type MeasureOptions, sequenceLogprobs, sequenceOutputs } from "../sequence-logprobs.ts"
import type { SplitOptions } from "../split-rows.ts"
import type { TrainedModel } from "../trained-model.ts"
import { deliveredSource } from "./delivered-source.ts"
import { environmentSource } from "./environment.ts"
import { scoredPrompts } from "./eval-prompts.ts"
import type { RolloutPlan } from "./plan-rollouts.ts"
import { sampledRow } from "./rollout.ts"
import { type RolloutBatches, rolloutBatches } from "./rollout-batches.ts"
import { type RolloutFileOptions, rolloutFile, type ToldRollout } from "./rollout-file.ts"
import { keptTensors, type MovingAverage, movingAverage } from "./teacher-average.ts"

/** In the run folder: what a server is given. */
const DELIVERED = "delivered"

export interface OpenRollouts {
  readonly batches: RolloutBatches
  /** Asks the eval prompts: an event a set. */
  readonly evaluate: (step: number) => AsyncGenerator<EventBody>
  release(): Promise<void>
}

export interface OpenRolloutsParts {
  readonly rollout: RolloutPlan
  readonly rewards: Parameters<typeof openScoring>[0]
  /** In place of the rewards, for trials. */
  readonly scoring?: Scoring
  readonly objective: Objective
  readonly steps: number
  readonly split: SplitOptions
  readonly model: Pick<TrainedModel, "policy" | "frozen">
  /** Where a teacher is opened. */
  readonly device: Device
  readonly maskTruncated: boolean
  readonly saved?: ReadonlyMap<string, HostTensor> | undefined
  /** Writes the policy as it is, for a server that samples; left out: the local engine samples. */
  readonly write?: (folder: string) => Promise<void>
  /** Where rollouts are written down. */
  readonly file: Pick<RolloutFileOptions, "folder" | "keep">
  /** Of the prompts' rows. */
  readonly columns?: Columns
  /** Of the reward models. */
  readonly threads?: DeviceOptions["threads"]
  readonly signal?: AbortSignal | undefined
}

export function openRollouts(parts: OpenRolloutsParts): OpenRollouts {
  const { rollout, model, objective, split, signal, file } = parts
  const { prompts, settings, tokenizer, stopIds, promptOrder, evalSets } = rollout
  const { decoder } = model.policy
  const source = new LocalSource({
    model: decoder,
    tokenizer,
    template: null,
    stopTokenIds: stopIds,
  })
  const scoring =
    parts.scoring ??
    openScoring(parts.rewards, {
      maxNewTokens: settings.max_new_tokens,
      ask: policyAsked(source, rollout),
      openModel: (path) =>
        modelReward(path, { threads: parts.threads ?? "auto", columns: parts.columns }),
    })
  const measuring: MeasureOptions = {
    split,
    head: crossEntropyAt(settings.temperature),
    ...(signal ? { signal } : {}),
  }
  const { critic } = needs(objective.expression)
  const valuing = critic
    ? { ...measuring, head: crossEntropyAt(settings.temperature, { value: true }) }
    : measuring
  let frozen: OpenReference | undefined
  const openReference = () =>
    rollout.measuredBy ? openFrozenModel(rollout.measuredBy, parts.device, signal) : model.frozen()
  const compares = settings.kl_in_reward > 0 || storesReference(objective)
  let opened: Promise<MovingAverage> | undefined
  let average: MovingAverage | undefined
  const { teacherRate: rate } = settings
  const openAverage = async (teacherRate: number) => {
    opened ??= movingAverage(decoder, teacherRate, parts.saved)
    average = await opened
    return average
  }
  const reference: Parameters<typeof rolloutBatches>[0]["reference"] = async (rows) => {
    if (rate !== undefined) {
      const followed = await openAverage(rate)
      return followed.lent(() => sequenceLogprobs(decoder, rows, measuring))
    }
    if (!rollout.settings.isOwnTeacherLive) frozen ??= await openReference()
    const compared = frozen ?? { decoder, adapter: true }
    return sequenceLogprobs(compared.decoder, rows, {
      ...measuring,
      adapter: compared.adapter,
    })
  }
  let write: ((rollout: ToldRollout) => void) | undefined
  const measureSampled = async (prompt: readonly number[], tokenIds: readonly number[]) => {
    const asked = { ...prompts[0]!, tokenIds: Int32Array.from(prompt) }
    const bare = { stopIds, specialIds: tokenizer.specialTokenIds, maskTruncated: false }
    const row = { ...sampledRow(asked, { tokenIds, finishReason: "stop" }, bare), columns: {} }
    return (await sequenceLogprobs(decoder, [row], measuring))[0]!
  }
  const { write: deliver } = parts
  const delivered =
    rollout.source === undefined || deliver === undefined
      ? undefined
      : deliveredSource({
          ...{ config: rollout.source, folder: join(file.folder, DELIVERED), write: deliver },
          ...{ measure: measureSampled, probe: [...prompts[0]!.tokenIds], stopIds },
          stop: settings.stop,
        })
  const sampler = delivered ?? source
  const { environment } = rollout
  const talked = environment
    ? environmentSource({
        ...{ source: sampler, settings: environment, prompts, tokenizer, stopIds },
        ...{ template: rollout.template, maxNewTokens: settings.max_new_tokens },
      })
    : undefined
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
    measure: (rows) => sequenceOutputs(decoder, rows, valuing),
    ...(compares ? { reference } : {}),
    ...(parts.saved ? { saved: parts.saved } : {}),
    ready: delivered && ((number) => delivered.ready(number, signal)),
    afterRollout: async () => average?.follow(),
    moreTensors: () => average?.tensors() ?? keptTensors(parts.saved),
    decode: (ids) => tokenizer.decode([...ids]),
    onRollout: (told) => {
      write ??= rolloutFile({ ...file, prompts, next: told.number })
      write(told)
    },
  })
  return {
    batches,
    evaluate: (step) => scoredPrompts({ source, scoring, evalSets, settings, signal }, step),
    async release() {
      await batches.release()
      await scoring.close()
      await talked?.close()
      if (sampler !== source) {
        await rm(join(file.folder, DELIVERED), { recursive: true, force: true })
      }
      await source.release()
      await frozen?.release()
      await average?.release()
    },
  }
}

/** What the policy answers to texts, each a turn of the user where the model has a chat template. */
function policyAsked(
  source: LocalSource,
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
