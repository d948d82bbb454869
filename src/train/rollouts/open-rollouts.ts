/**
 * What rollouts are made with on the local engine: the policy as sampler, or a server, and what
 * measures.
 */
import { rm } from "node:fs/promises"
import { join } from "node:path"
import { LocalSource } from "../../generate/local-source.ts"
import { needs, type Objective } from "../../objectives/index.ts"
import type { Device } from "../../runtime/index.ts"
import { type OpenReference, openFrozenModel } from "../frozen-model.ts"
import { comparesWithReference } from "../objective-batches.ts"
import { crossEntropyAt } from "../objective-head.ts"
import { type MeasureOptions, sequenceLogprobs, sequenceOutputs } from "../sequence-logprobs.ts"
import type { SplitOptions } from "../split-rows.ts"
import type { TrainedModel } from "../trained-model.ts"
import { deliveredSource } from "./delivered-source.ts"
import type { RolloutParts } from "./made-rollout.ts"
import { type OpenRollouts, type PolicyRolloutsParts, policyRollouts } from "./policy-rollouts.ts"
import { sampledRow } from "./rollout.ts"
import { keptTensors, type MovingAverage, movingAverage } from "./teacher-average.ts"

/** In the run folder: what a server is given. */
const DELIVERED = "delivered"

export type { OpenRollouts }

export interface OpenRolloutsParts extends PolicyRolloutsParts {
  readonly objective: Objective
  readonly split: SplitOptions
  readonly model: Pick<TrainedModel, "policy" | "frozen">
  /** Where a teacher is opened. */
  readonly device: Device
  /** Writes the policy as it is, for a server that samples; left out: the local engine samples. */
  readonly write?: (folder: string) => Promise<void>
}

export function openRollouts(parts: OpenRolloutsParts): OpenRollouts {
  const { rollout, model, objective, split, signal, file } = parts
  const { prompts, settings, tokenizer, stopIds } = rollout
  const { decoder } = model.policy
  const source = new LocalSource({
    model: decoder,
    tokenizer,
    template: null,
    stopTokenIds: stopIds,
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
  const compares = comparesWithReference(objective, settings)
  let opened: Promise<MovingAverage> | undefined
  let average: MovingAverage | undefined
  const { teacherRate: rate } = settings
  const openAverage = async (teacherRate: number) => {
    opened ??= movingAverage(decoder, teacherRate, parts.saved)
    average = await opened
    return average
  }
  const reference: RolloutParts["reference"] = async (rows) => {
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
  return policyRollouts(parts, {
    source,
    sampler: delivered,
    measure: (rows) => sequenceOutputs(decoder, rows, valuing),
    ...(compares ? { reference } : {}),
    ready: delivered && ((number) => delivered.ready(number, signal)),
    afterRollout: async () => average?.follow(),
    moreTensors: () => average?.tensors() ?? keptTensors(parts.saved),
    async release() {
      if (delivered) await rm(join(file.folder, DELIVERED), { recursive: true, force: true })
      await source.release()
      await frozen?.release()
      await average?.release()
    },
  })
}
