import { weightsHash } from "../models/files/weights-hash.ts"
import type { FixedBatches } from "./batches.ts"
import { openFrozenModel } from "./frozen-model.ts"
import type { EvalSet } from "./held-out-loss.ts"
import { beginsPrincipal } from "./model-settings.ts"
import { storesReference } from "./objective-batches.ts"
import type { PlanOptions, RunPlan } from "./plan.ts"
import { type ReferenceModel, withReference } from "./reference-logprobs.ts"
import type { Session } from "./session.ts"

/** What a run trains on, with all that it is compared with. */
export interface RunRows {
  readonly batches: FixedBatches
  readonly evalSets: readonly EvalSet[]
  /** The reference came with them. */
  readonly storedReference: boolean
  /** Files of the reference that were damaged and have been measured again. */
  readonly damaged: readonly string[]
}

export const measuredAnew = (damage: string) => ({
  code: "damaged-cache",
  message: `the stored log-probabilities of the reference were damaged and have been measured again (${damage})`,
  hint: "nothing is lost; a disk that does this often is failing",
})

/**
 * The rows of a run; where its objective compares with a reference, with the log-probabilities of
 * that one (another model, or how this one began), measured before the first update and kept beside
 * the rows.
 */
export async function runRows(
  plan: RunPlan,
  session: Pick<Session, "start" | "device">,
  { signal, onProgress }: PlanOptions,
): Promise<RunRows> {
  const { batches, evalSets, objective, split, measuredBy } = plan
  if (!storesReference(objective)) return { batches, evalSets, storedReference: false, damaged: [] }
  let opened: Awaited<ReturnType<Session["start"]>> | undefined
  const model = async (): Promise<ReferenceModel> => {
    opened ??= measuredBy
      ? await openFrozenModel(measuredBy, session.device, signal)
      : await session.start()
    return opened
  }
  const damaged: string[] = []
  const options = {
    split,
    onDamage: (damage: string) => void damaged.push(damage),
    // Another split into micro-batches rounds otherwise, and so do products in bfloat16.
    key: measuredBy
      ? ["another", measuredBy.hash, split, plan.engine.dtype]
      : [
          ...[weightsHash(plan.modelFolder), plan.quantization ?? null, split],
          ...(plan.engine.dtype === "fp32" ? [] : [plan.engine.dtype]),
          ...(plan.earlier ? [plan.earlier.hash] : []),
          // a part of the base that is kept in another form is rounded otherwise
          ...(beginsPrincipal(plan)
            ? [JSON.stringify([plan.config.adapter, plan.config.seed])]
            : []),
        ],
    model,
    signal,
    ...(onProgress ? { onProgress } : {}),
  }
  try {
    const measured = await withReference(batches, { ...options, dir: plan.rows.dir })
    const sets: EvalSet[] = []
    for (const set of evalSets) {
      const own = set.batches
      const dir = set.rows.dir
      sets.push(own ? { ...set, batches: await withReference(own, { ...options, dir }) } : set)
    }
    return { batches: measured, evalSets: sets, storedReference: true, damaged }
  } finally {
    await opened?.release()
  }
}
