import { randomUUID } from "node:crypto"
import { mkdir, rename, rm } from "node:fs/promises"
import { freemem } from "node:os"
import { basename, join, resolve } from "node:path"
import type { Config } from "../config/index.ts"
import { cleanUp, type Failure } from "../errors.ts"
import { flushFolder, type TensorToWrite, writeFileAtomic } from "../formats/index.ts"
import { peakMemory } from "../host/peak-memory.ts"
import { openWeights } from "../models/files/index.ts"
import { VALUE_HEAD } from "../models/index.ts"
import { reportHtml } from "../report/run-page.ts"
import { summarizeRuns } from "../report/run-summary.ts"
import { keepForeignModel } from "../run/clear-run.ts"
import type { EventBody, RunEvent } from "../run/events.ts"
import { openRunFolder, RUN_FILES, type RunFolder, readRun } from "../run/run-folder.ts"
import { checkpointPath, checkRunPlace } from "../run/run-place.ts"
import { stopRequest } from "../run/stop-request.ts"
import { timeShares } from "../run/time-shares.ts"
import { startTensors } from "./adapter-start.ts"
import type { BatchSource } from "./batches.ts"
import { bestBeside, bringBest } from "./best-checkpoint.ts"
import { type Checkpoint, readCheckpoint, readState, writeCheckpointFolder } from "./checkpoint.ts"
import { runStart } from "./first-event.ts"
import { float32Evaluation } from "./float32-evaluation.ts"
import { forgetting } from "./forgetting.ts"
import { fitsNow } from "./local-plan.ts"
import { miniatureEstimate } from "./miniature.ts"
import { writeTrainedModel } from "./model-files.ts"
import { storesReference } from "./objective-batches.ts"
import { oldLogprobsFor } from "./old-logprobs.ts"
import { closeRows, type PlanOptions, planRun, type RunPlan } from "./plan.ts"
import { runWatch } from "./preference-watch.ts"
import { type OpenRollouts, openRollouts } from "./rollouts/open-rollouts.ts"
import { type Identity, identityOf } from "./run-identity.ts"
import { measuredAnew, type RunRows, runRows } from "./run-reference.ts"
import {
  checkpointToResume,
  checkSameRun,
  FROM_THE_BEGINNING,
  wasTogether,
  withChoicesOf,
} from "./run-start.ts"
import { sampler } from "./samples.ts"
import { openSession, type Session } from "./session.ts"
import { sourceNames } from "./source-losses.ts"
import { tensorToWrite } from "./tensor-to-write.ts"
import { type Progress, START, trainSteps } from "./trainer.ts"
import { runVersions } from "./versions.ts"
import { savedAverage } from "./weight-average.ts"

export interface RunResult {
  readonly reason: "done" | "interrupted"
  readonly steps: number
  /** The run folder. */
  readonly path: string
  /** The finished model or adapter; null when interrupted. */
  readonly model: string | null
  /** It was done before it was resumed: nothing was computed, and nothing touched. */
  readonly wasDone?: true
}

const stamp = (body: EventBody): RunEvent =>
  ({ ...body, time: new Date().toISOString() }) as RunEvent

/**
 * A whole run in this thread: plan, train, write the result. Every event goes to the run folder
 * before it is yielded. Ends early, after a checkpoint, when `signal` aborts.
 *
 * @throws InputError for what the user can mend; the run folder then ends with `run.end` failed
 */
export async function* runHere(
  config: Config,
  options: PlanOptions = {},
): AsyncGenerator<RunEvent, RunResult> {
  checkRunPlace(config)
  const resumed = await checkpointToResume(config)
  const state = resumed === undefined ? undefined : await readState(resumed)
  const best = bestBeside(config, resumed)
  const plan = await (state
    ? planRun(withChoicesOf(config, state), { ...options, together: wasTogether(state) })
    : planRun(config, options))
  const identity = identityOf(plan)
  if (state) checkSameRun(state, identity, plan)
  const seconds = options.timed
    ? await secondsAhead(plan, state?.progress.step ?? 0, options)
    : undefined
  // What timing leaves behind, the run takes again; what it took at most has been taken.
  const plannedMemoryBytes = Math.max(plan.memory.total, seconds === undefined ? 0 : peakMemory())
  const checkpoint = state && (await readCheckpoint(state))
  const session = await openSession(plan, {
    ...(checkpoint ? { checkpoint } : {}),
    onProgress: options.onProgress,
    ...(options.signal ? { signal: options.signal } : {}),
  })
  const folder = await folderOf(plan, config, checkpoint)
  await bringBest(config, best)
  const before = readRun(folder.path).events
  const spent = timeShares(before)
  const stop = stopRequest(folder.path)
  const signal = AbortSignal.any([stop.signal, ...(options.signal ? [options.signal] : [])])
  let step = checkpoint?.progress.step ?? 0
  const tell = (body: EventBody): RunEvent => {
    const event = stamp(body)
    folder.append(event)
    spent.see(event)
    step = event.step
    return event
  }
  let failure: Failure | undefined
  try {
    yield tell(startOf(plan, session, { plannedMemoryBytes, seconds, checkpoint }))
    const said = config.resume !== false && !checkpoint ? [FROM_THE_BEGINNING] : []
    for (const { code, message, hint } of [...said, ...plan.lints]) {
      yield tell({ type: "warning", step, code, message, hint })
    }
    const run = { plan, identity, session, folder, checkpoint, before, tell }
    const result = yield* steps(run, { ...options, signal })
    if (result.reason === "done") await takeBest(plan, session, result.progress)
    const model = result.reason === "done" ? await finish(plan, session) : null
    if (model) {
      const told = () => readRun(folder.path).events
      const parts = { ...options, ...result, signal, plan, session, told }
      for await (const event of float32Evaluation(parts)) yield tell(event)
    }
    const shares = spent.shares()
    yield tell({
      type: "run.end",
      step,
      reason: result.reason,
      ...(shares ? { time_shares: shares } : {}),
      ...(model ? { output: model } : {}),
    })
    await writeReport(folder)
    return { reason: result.reason, steps: result.progress.step, path: folder.path, model }
  } catch (error) {
    failure = { error }
    const message = error instanceof Error ? error.message : String(error)
    const end = { type: "run.end", step, reason: "failed", message } as const
    try {
      tell(end)
    } catch {
      // a full disk: what ended the run is told to whoever reads it now
    }
    yield stamp(end)
    throw error
  } finally {
    const last = [
      () => stop.release(),
      () => folder.close(),
      () => session.release(),
      () => closeRows(plan),
    ]
    await cleanUp(last, failure)
  }
}

/** The run's folder, with what it is a run of. */
async function folderOf(
  plan: RunPlan,
  config: Config,
  checkpoint: Checkpoint | undefined,
): Promise<RunFolder> {
  const { objective, rollout } = plan.config
  return openRunFolder(config.output_dir, {
    record: {
      config: { ...config, objective, rollout, engine: plan.engine },
      versions: await runVersions(plan),
    },
    step: checkpoint?.progress.step ?? 0,
    overwrite: config.overwrite_output_dir && config.resume === false,
  })
}

function startOf(
  { config, objective, rows, order }: RunPlan,
  { policy }: Session,
  known: {
    readonly plannedMemoryBytes: number
    readonly seconds: number | undefined
    readonly checkpoint: Checkpoint | undefined
  },
): EventBody {
  const { plannedMemoryBytes, seconds, checkpoint } = known
  return runStart({
    runId: randomUUID(),
    name: basename(resolve(config.output_dir)),
    decoder: policy.decoder,
    objective,
    supervisedTokens: rows.manifest.supervised_tokens,
    rows: rows.rows,
    batchSize: config.batch_size,
    steps: order.steps,
    plannedMemoryBytes,
    freeMemoryBytes: freemem() + process.memoryUsage.rss(),
    ...(seconds === undefined ? {} : { plannedSeconds: seconds }),
    ...(checkpoint ? { resumed: checkpoint } : {}),
  })
}

/**
 * What is left of the run after `step` will take; undefined where it makes its rows itself, and
 * where its memory is not there: a trial would take as much before anything is told of it.
 */
async function secondsAhead(
  plan: RunPlan,
  step: number,
  { signal, onProgress }: PlanOptions,
): Promise<number | undefined> {
  if (plan.rollout || signal?.aborted || !fitsNow(plan)) return undefined
  onProgress?.("timing a few layers")
  const { seconds } = await miniatureEstimate(plan, signal ? { signal } : {})
  return seconds * Math.max(0, 1 - step / plan.order.steps)
}

/** A run that is going on. */
interface Running {
  readonly plan: RunPlan
  readonly identity: Identity
  readonly session: Session
  readonly folder: RunFolder
  readonly checkpoint: Checkpoint | undefined
  /** What the run that this one continues told. */
  readonly before: readonly RunEvent[]
  readonly tell: (body: EventBody) => RunEvent
}

async function* steps(run: Running, planned: PlanOptions) {
  const { signal } = planned
  const { plan, session, folder, checkpoint, before, tell } = run
  const { config } = plan
  const watch = runWatch(plan.objective, config, before)
  const sample = await sampler(plan, session.policy, planned.onProgress)
  const { objective, split } = plan
  const { batches, evalSets, storedReference, rollouts, damaged } = await runSteps(run, planned)
  for (const damage of damaged) {
    yield tell({ type: "warning", step: checkpoint?.progress.step ?? 0, ...measuredAnew(damage) })
  }
  const names = sourceNames(plan.prepared.manifest)
  const oldLogprobs = rollouts
    ? undefined
    : oldLogprobsFor(objective, plan.batches, split, checkpoint?.tensors)
  const forgets = forgetting(plan, session.policy)
  const stateAfter = rollouts?.batches ?? oldLogprobs
  const events = trainSteps(
    {
      policy: session.policy,
      objective,
      batches,
      split,
      evalSets,
      storedReference,
      referenceIsStart:
        storedReference && checkpoint === undefined && !rollouts && !plan.measuredBy,
      precision: plan.engine.dtype,
      ...(rollouts ? rolloutTraining(plan) : {}),
      evaluate: async function* (step) {
        if (rollouts) yield* rollouts.evaluate(step)
        if (forgets) yield* forgets(step, signal)
      },
      settings: config,
      memoryBytes: () => process.memoryUsage.rss(),
      save: (progress) =>
        saveCheckpoint(run, progress, stateAfter?.tensorsAfter(progress.step) ?? []),
      ...(oldLogprobs ? { oldLogprobs } : {}),
      ...(session.reference ? { reference: session.reference } : {}),
      ...(names ? { sourceNames: names } : {}),
      ...(sample ? { sample } : {}),
      ...(planned.onProgress ? { onProgress: planned.onProgress } : {}),
      ...(signal ? { signal } : {}),
    },
    checkpoint?.progress ?? START,
  )
  let failure: Failure | undefined
  try {
    for (;;) {
      const next = await events.next()
      if (next.done) return { ...next.value, evalSets, storedReference }
      const { dtype } = plan.engine
      const said = next.value.type === "sample" ? { ...next.value, dtype } : next.value
      if (said.type === "sample") folder.appendSample(said)
      const event = tell(said)
      yield event
      const warning = watch(event)
      if (warning) yield tell({ type: "warning", step: event.step, ...warning })
    }
  } catch (error) {
    failure = { error }
    throw error
  } finally {
    await cleanUp([() => rollouts?.release()], failure)
  }
}

/** Where the steps come from: prepared rows, or rollouts. */
async function runSteps(
  { plan, session, checkpoint }: Running,
  planned: PlanOptions,
): Promise<Omit<RunRows, "batches"> & { batches: BatchSource; rollouts?: OpenRollouts }> {
  const { rollout, objective, split } = plan
  if (!rollout) return runRows(plan, session, planned)
  const settings = plan.config.rollout!
  const rollouts = openRollouts({
    rollout,
    objective,
    split,
    rewards: settings.rewards,
    threads: plan.engine.threads,
    columns: plan.config.data.columns,
    steps: plan.order.steps,
    model: session,
    device: session.device,
    maskTruncated: settings.mask_truncated_completions,
    file: { folder: plan.config.output_dir, keep: settings.keep },
    write: (folder) => writeTrainedModel(folder, plan, session.policy.decoder, result(session)),
    ...(checkpoint ? { saved: checkpoint.tensors } : {}),
    signal: planned.signal,
  })
  const storedReference = storesReference(objective)
  return { batches: rollouts.batches, evalSets: [], storedReference, rollouts, damaged: [] }
}

function rolloutTraining({ rollout }: RunPlan) {
  const { temperature, max_new_tokens } = rollout!.settings
  return { temperature, maxTokens: max_new_tokens }
}

async function saveCheckpoint(
  { plan, identity, session: { policy, device, begun } }: Running,
  progress: Progress,
  more: readonly TensorToWrite[],
): Promise<string> {
  const { decoder } = policy
  // What the model's own files have no place for.
  const apart = [...decoder.gradients.keys()].filter((name) => plan.lora || name === VALUE_HEAD)
  const parameters = apart.map((name) =>
    tensorToWrite(`parameter.${name}`, decoder.weights.get(name)!, device),
  )
  return writeCheckpointFolder(
    join(plan.config.output_dir, RUN_FILES.checkpoints),
    {
      progress,
      identity,
      writeModel: (folder) => writeTrainedModel(folder, plan, decoder, { exact: true, begun }),
      tensors: [
        ...[...parameters, ...startTensors(begun, (name) => decoder.weights.get(name)!.shape)],
        ...[...policy.momentTensors(), ...more],
      ],
    },
    {
      limit: plan.config.save_total_limit,
      keep: plan.config.load_best_model_at_end ? progress.best?.step : undefined,
    },
  )
}

/**
 * What the result is: the average of the weights where there is one; of the best evaluation where
 * it is to be that.
 */
async function takeBest(plan: RunPlan, session: Session, { step, best }: Progress): Promise<void> {
  if (!plan.config.load_best_model_at_end || !best || best.step === step) {
    session.policy.exchangeAverage()
    return
  }
  const folder = checkpointPath(plan.config.output_dir, best.step)
  const { decoder } = session.policy
  const { tensors } = await readCheckpoint(await readState(folder))
  const apart = (name: string) => tensors.get(`parameter.${name}`)?.data as Float32Array | undefined
  if (plan.config.ema_decay !== null) {
    return decoder.replace((name) => savedAverage(tensors, name)!)
  }
  if (plan.lora) return decoder.replace((name) => apart(name)!)
  const open = await openWeights(folder, { scores: plan.model.shape.scores === true })
  try {
    await decoder.replace((name) => apart(name) ?? open.read(name))
  } finally {
    await open.close()
  }
}

/** How the result is written. */
const result = ({ begun }: Session) => ({ exact: false, begun })

/** Writes `model/` whole or not at all. */
async function finish(plan: RunPlan, session: Session): Promise<string> {
  const path = join(plan.config.output_dir, RUN_FILES.model)
  const temporary = `${path}.${randomUUID()}.tmp`
  await mkdir(temporary, { recursive: true })
  let failure: Failure | undefined
  try {
    await writeTrainedModel(temporary, plan, session.policy.decoder, result(session))
    keepForeignModel(plan.config.output_dir)
    await rm(path, { recursive: true, force: true })
    await rename(temporary, path)
    await flushFolder(plan.config.output_dir)
  } catch (error) {
    failure = { error }
    throw error
  } finally {
    await cleanUp([() => rm(temporary, { recursive: true, force: true })], failure)
  }
  return path
}

async function writeReport({ path }: RunFolder): Promise<void> {
  const html = reportHtml(summarizeRuns([readRun(path)]))
  await writeFileAtomic(join(path, RUN_FILES.report), html)
}
