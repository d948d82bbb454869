/** At the end of a run in bf16: its evaluation once more in float32. */
import { cleanUp, type Failure } from "../errors.ts"
import { collectGarbage } from "../host/collect-garbage.ts"
import { LayeredDecoder } from "../models/decoder/layered-decoder.ts"
import { openWeights } from "../models/files/index.ts"
import { elementCount, layerTensor, loraInputs } from "../models/index.ts"
import { isOfPairs } from "../objectives/index.ts"
import type { EventBody, RunEvent } from "../run/events.ts"
import { type DeviceTensor, float32 } from "../runtime/index.ts"
import { openDevice } from "../runtime/node.ts"
import { besideStart } from "./adapter-start.ts"
import { type EvalSet, evaluations } from "./held-out-loss.ts"
import { HEAD_ROWS } from "./model-settings.ts"
import { CROSS_ENTROPY, objectiveHead } from "./objective-head.ts"
import type { PlanOptions, RunPlan } from "./plan.ts"
import type { Session } from "./session.ts"
import type { Progress } from "./trainer.ts"

export interface Float32EvaluationParts extends PlanOptions {
  readonly plan: RunPlan
  /** It is released before anything is read, so that the run's peak of memory stays training's. */
  readonly session: Session
  readonly progress: Progress
  readonly evalSets: readonly EvalSet[]
  readonly storedReference: boolean
  /** Reads what the run has told, the evaluation of these weights among it. */
  readonly told: () => readonly RunEvent[]
}

/**
 * The eval sets as `fp32/NAME`, with `nll_gap`: how far the NLL in bf16 is above. The weights are
 * those in memory, not as `model/` rounds them, so only the products' precision differs.
 */
export async function* float32Evaluation(parts: Float32EvaluationParts): AsyncGenerator<EventBody> {
  const { plan, session, progress, evalSets, onProgress, signal } = parts
  if (plan.engine.dtype !== "bf16" || evalSets.length === 0 || signal?.aborted) return
  const { config, objective, order, split } = plan
  const told = parts.told()
  const measuredAt = (config.load_best_model_at_end && progress.best?.step) || progress.step
  const kept = weightsOf(session)
  await session.release()
  collectGarbage()
  const model = await openFloat32(plan, kept, session.begun)
  const head = { ...objectiveHead(objective, parts), settings: CROSS_ENTROPY, firstPass: undefined }
  const events = evaluations(
    {
      decoder: model.decoder,
      head,
      evalSets,
      steps: order.steps,
      batch: { ...split, normalization: objective.normalization },
      paired: isOfPairs(objective),
      onProgress: (message) => onProgress?.(`in float32: ${message}`),
      ...(signal ? { signal } : {}),
    },
    progress.step,
  )
  let failure: Failure | undefined
  try {
    for await (const event of events) {
      if (event.type !== "eval" || event.nll === undefined) continue
      const { loss: _, name, nll, ...rest } = event
      const twin = told.findLast(
        (one) => one.type === "eval" && one.name === name && one.step === measuredAt,
      )
      const there = twin?.type === "eval" ? twin.nll : undefined
      const gap = there === undefined ? {} : { nll_gap: there - nll }
      yield { ...rest, name: `fp32/${name}`, nll, ...gap }
    }
  } catch (error) {
    failure = { error }
    throw error
  } finally {
    await cleanUp([model.release], failure)
  }
}

/** A weight as training held it; of a packed one, which is a frozen base's, only its shape. */
type Kept = DeviceTensor | { readonly shape: readonly number[]; readonly data?: undefined }

function weightsOf({ policy }: Session): Map<string, Kept> {
  const { weights } = policy.decoder
  return new Map(
    [...weights].map(([name, held]) => [name, held.data ? held : { shape: held.shape }]),
  )
}

/** The model in float32, a layer at a time; what was packed is read from the base's file again. */
async function openFloat32(
  plan: RunPlan,
  kept: ReadonlyMap<string, Kept>,
  begun: Session["begun"],
) {
  const { shape } = plan.model
  const device = await openDevice({ device: "cpu", threads: plan.engine.threads, dtype: "fp32" })
  const opened = await openWeights(plan.modelFolder, { scores: shape.scores === true })
  const file = besideStart(opened, plan, begun)
  const tensor = async (name: string, place: (count: number) => Float32Array) => {
    const own = kept.get(name)!
    if ("dispose" in own) return own
    const count = elementCount(own.shape)
    return device.upload(float32(own.shape, await file.read(name, place(count))))
  }
  const outer = new Map<string, DeviceTensor>()
  const layers: { below: string; name: string }[][] = shape.layers.map(() => [])
  for (const name of kept.keys()) {
    const at = layerTensor(name)
    if (at) layers[at.layer]!.push({ below: at.name, name })
    else outer.set(name, await tensor(name, (count) => new Float32Array(count)))
  }
  const places = new Map<string, Float32Array>()
  const placeOf = (below: string) => (count: number) => {
    const key = `${below} ${count}`
    const place = places.get(key) ?? new Float32Array(count)
    places.set(key, place)
    return place
  }
  const decoder = new LayeredDecoder({
    ...{ device, shape, outer, headRows: HEAD_ROWS, quantization: plan.quantization },
    lora: plan.lora && loraInputs(plan.lora),
    layer: async (layer) => {
      const found: Record<string, DeviceTensor> = {}
      for (const { below, name } of layers[layer]!)
        found[below] = await tensor(name, placeOf(below))
      return found
    },
  })
  return {
    decoder,
    release: async () => {
      await decoder.release()
      await device.release()
      await file.close()
    },
  }
}
