/** What an adapter begins with where that is not nothing: PiSSA's, which is taken from the base. */
import type { TensorToWrite } from "../formats/index.ts"
import { type OpenWeights, openWeights } from "../models/files/index.ts"
import { type AdapterStart, baseBeside, principalStart } from "../models/index.ts"
import { progressMeter } from "../report/progress.ts"
import type { Device, HostTensor } from "../runtime/index.ts"
import { beginsPrincipal } from "./model-settings.ts"
import type { RunPlan } from "./plan.ts"
import { heldTensor } from "./tensor-to-write.ts"

const SAVED = "start."

type StartPlan = Pick<RunPlan, "config" | "lora" | "model" | "modelFolder">

/**
 * The start of a run's adapter, by the decoder's names, or what its checkpoint says that it was;
 * undefined where B begins at zero.
 */
export async function adapterStart(
  plan: StartPlan,
  {
    device,
    saved,
    signal,
    onProgress,
  }: {
    readonly device: Device
    readonly saved: ReadonlyMap<string, HostTensor> | undefined
    readonly signal: AbortSignal | undefined
    readonly onProgress?: ((message: string) => void) | undefined
  },
): Promise<AdapterStart | undefined> {
  const { config, lora: spec, model } = plan
  if (!beginsPrincipal(plan) || !spec) return undefined
  if (saved) {
    const kept = [...saved].filter(([name]) => name.startsWith(SAVED))
    return new Map(
      kept.map(([name, { data }]) => [name.slice(SAVED.length), data as Float32Array] as const),
    )
  }
  const meter = progressMeter("finding principal directions", { unit: "matrices" })
  const source = await openWeights(plan.modelFolder, { scores: model.shape.scores === true })
  try {
    return await principalStart(
      { shape: model.shape, spec },
      {
        ...{ device, seed: config.seed, signal },
        read: (name) => source.read(name),
        onProgress: (done, all) => onProgress?.(meter(done, all)),
      },
    )
  } finally {
    await source.close()
  }
}

/** The base without what the adapter begins with. */
export function besideStart(
  open: OpenWeights,
  { lora: spec, model }: Pick<StartPlan, "lora" | "model">,
  start: AdapterStart | undefined,
): OpenWeights {
  if (!start || !spec) return open
  const take = baseBeside({ shape: model.shape, spec }, start)
  return {
    ...open,
    async read(name, into) {
      const weight = await open.read(name, into)
      take(name, weight)
      return weight
    },
  }
}

/** For a checkpoint: a resumed run does not find it anew. */
export function startTensors(
  start: AdapterStart | undefined,
  shapeOf: (name: string) => readonly number[],
): TensorToWrite[] {
  return [...(start ?? [])].map(([name, values]) => heldTensor(SAVED + name, shapeOf(name), values))
}
