/** The events of a started worker, with what its samples need conducted beside them. */
import { dirname } from "node:path"
import type { Failure } from "../../errors.ts"
import type { RunEnd, RunEvent } from "../../run/events.ts"
import { checkpointStep, type DataPlan, type PlanOptions } from "../../train/index.ts"
import { type launchCommand, workerRun } from "./index.ts"
import { conduct } from "./rollouts/conduct.ts"

export interface StartedRun {
  readonly plan: DataPlan
  readonly specPath: string
  readonly launch: ReturnType<typeof launchCommand>
  /** The checkpoint that it goes on from. */
  readonly resume: string | null
  readonly tell: (event: RunEvent) => RunEvent
}

/**
 * The worker's events. Of a run that samples, its rollouts are conducted beside them, and what ends
 * one of the two ends the other.
 */
export async function* workerEvents(
  { plan, specPath, launch, resume, tell }: StartedRun,
  outputDir: string,
  { signal, onProgress }: PlanOptions,
): AsyncGenerator<RunEvent, RunEnd> {
  const [gone, giveUp] = [new AbortController(), new AbortController()]
  let failure: Failure | undefined
  const conducted = plan.rollout
    ? conduct({
        ...{ plan, folder: dirname(specPath), resume, gone: gone.signal },
        step: resume === null ? 0 : checkpointStep(resume),
        tell: (body) => void tell({ ...body, time: new Date().toISOString() } as RunEvent),
        signal: signal ?? new AbortController().signal,
      }).catch((error: unknown) => {
        failure = { error }
        giveUp.abort()
      })
    : undefined
  const running = workerRun({
    launch,
    specPath,
    outputDir,
    giveUp: giveUp.signal,
    onExit: () => gone.abort(new Error("the worker is gone")),
    ...(signal && !plan.rollout ? { signal } : {}),
    ...(onProgress ? { onLine: onProgress } : {}),
  })
  for (;;) {
    const next = await running.next().catch(async (error: unknown) => {
      gone.abort(error)
      await conducted
      throw failure && failure.error !== gone.signal.reason ? failure.error : error
    })
    if (next.done) {
      await conducted
      if (failure) throw failure.error
      return next.value
    }
    yield next.value
  }
}
