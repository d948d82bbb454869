/** A run on `engine: torch`: the same plan as the local engine's, handed to the worker. */

import { dirname, join, resolve } from "node:path"
import type { Config, TorchEngineConfig } from "../../config/index.ts"
import { InputError } from "../../errors.ts"
import { writeFileAtomic, writeSafetensors } from "../../formats/index.ts"
import { begun } from "../../host/begun.ts"
import {
  adapterParameters,
  decoderName,
  heldTensors,
  initialLora,
  layerPrefix,
  type ModelConfig,
} from "../../models/index.ts"
import { plural } from "../../plural.ts"
import { keepForeignModel } from "../../run/clear-run.ts"
import type { RunEnd, RunEvent } from "../../run/events.ts"
import { openRunFolder, RUN_FILES, readRun } from "../../run/run-folder.ts"
import { checkRunPlace } from "../../run/run-place.ts"
import { loadTokenizer, stopTokenIds } from "../../text/index.ts"
import { bestBeside, bringBest } from "../../train/best-checkpoint.ts"
import {
  checkpointStep,
  checkpointToResume,
  closeRows,
  type DataPlan,
  FROM_THE_BEGINNING,
  finishedRun,
  type PlanOptions,
  planData,
  type RunResult,
  reportHtml,
  summarizeRuns,
} from "../../train/index.ts"
import { rowsLayout } from "../../train/model-files.ts"
import { newScore } from "../../train/model-weights.ts"
import { padTokenOf } from "../../train/pad-token.ts"
import { weighingSampler } from "../../train/plan.ts"
import { runWatch } from "../../train/preference-watch.ts"
import { referenceOf, samplePrompts } from "../../train/samples.ts"
import { heldTensor } from "../../train/tensor-to-write.ts"
import { runVersions } from "../../train/versions.ts"
import type { Run } from "../engine.ts"
import {
  checkPython,
  choosePython,
  launchCommand,
  nodeRank,
  runSpecPath,
  type SampleSpec,
  type ScoreSpec,
  sbatchFile,
  tellNodes,
  watchNodes,
  workerRun,
  writeRunSpec,
} from "./index.ts"
import { checkRollouts, rolloutSpec } from "./rollouts/rollout-spec.ts"
import { workerEvents } from "./worker-events.ts"

export interface TorchOptions extends PlanOptions {
  /** Handed to torchrun as they are. */
  readonly torchrunArgs?: readonly string[]
}

/** Starts the worker and follows its events; `result` settles when they are read to their end. */
export function trainWithTorch(config: Config, options: TorchOptions = {}): Run {
  return begun(() => {
    const joins = (nodeRank(options.torchrunArgs ?? []) ?? 0) > 0
    return joins ? joinRun(config, options) : torchRun(config, options)
  })
}

async function* torchRun(
  config: Config,
  options: TorchOptions,
): AsyncGenerator<RunEvent, RunResult> {
  const { onProgress, torchrunArgs = [] } = options
  const done = await finishedRun(config)
  if (done) return done
  const engine = torchConfig(config)
  const { environment, plan, samples, resume, best } = await prepared(config, options).catch(
    (error: unknown) => {
      if (engine.nnodes > 1 && mayWrite(config)) {
        tellNodes(dirname(runSpecPath(config.output_dir)), error)
      }
      throw error
    },
  )
  const { torch = "?" } = environment.versions
  const folder = openRunFolder(config.output_dir, {
    record: { config, versions: { ...(await runVersions(plan)), torch } },
    step: resume === null ? 0 : checkpointStep(resume),
    overwrite: config.overwrite_output_dir && config.resume === false,
  })
  await bringBest(config, best)
  const before = resume === null ? [] : readRun(folder.path).events
  const tell = (event: RunEvent): RunEvent => {
    folder.append(event)
    return event
  }
  const watch = runWatch(plan.objective, config, before)
  let step = 0
  let ended = false
  try {
    keepForeignModel(folder.path)
    const specPath = await writeSpec(plan, resume, samples)
    const launch = launchCommand(specPath, engine, environment, torchrunArgs)
    onProgress?.(
      `starting ${launch.processes} ${plural(launch.processes, "process", "processes")} of PyTorch ${torch}`,
    )
    const events = workerEvents({ plan, specPath, launch, resume, tell }, folder.path, options)
    let next = await events.next()
    for (; !next.done; next = await events.next()) {
      const event = next.value
      step = event.step
      ended ||= event.type === "run.end"
      if (event.type === "run.end") await writeReport(folder.path)
      yield event
      // what is told here is read with the worker's own events
      if (event.type === "run.start") for (const lint of lintEvents(plan, step)) tell(lint)
      const warning = watch(event)
      if (warning) tell({ type: "warning", time: now(), step, ...warning })
    }
    return runResult(next.value, config.output_dir)
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    if (!ended) yield tell({ type: "run.end", time: now(), step, reason: "failed", message })
    throw error
  } finally {
    folder.close()
  }
}

/** The checkpoint to go on from, and the best evaluation's where it has to come along. */
async function resumedFrom(config: Config) {
  const resume = (await checkpointToResume(config)) ?? null
  return { resume, best: bestBeside(config, resume ?? undefined) }
}

/** What node 0 prepares for all. */
async function prepared(config: Config, options: TorchOptions) {
  checkRunPlace(config)
  const environment = checkPython(choosePython(torchConfig(config).python))
  const plan = await torchPlan(config, options)
  const samples = await sampleSpec(plan)
  closeRows(plan)
  return { environment, plan, samples, ...(await resumedFrom(config)) }
}

/** Whether a run may write in the output folder, if only its refusal: it may be somebody's own. */
function mayWrite(config: Config): boolean {
  try {
    checkRunPlace({ ...config, overwrite_output_dir: true })
    return true
  } catch {
    return false
  }
}

/**
 * A further node of a run: node 0 prepares it, owns its folder and writes what dftune has to tell.
 * Processes start when all nodes have met, and node 0 comes only when all is written.
 */
async function* joinRun(
  config: Config,
  { signal, onProgress, torchrunArgs = [] }: TorchOptions,
): AsyncGenerator<RunEvent, RunResult> {
  const specPath = runSpecPath(config.output_dir)
  const others = watchNodes(dirname(specPath))
  try {
    const done = await finishedRun(config)
    if (done) return done
    const engine = torchConfig(config)
    const environment = checkPython(choosePython(engine.python))
    const launch = launchCommand(specPath, engine, environment, torchrunArgs)
    onProgress?.(`waiting for node 0 with ${launch.processes} of this node's processes`)
    const end = yield* workerRun({
      launch,
      specPath,
      outputDir: config.output_dir,
      giveUp: others.signal,
      ...(signal ? { signal } : {}),
      ...(onProgress ? { onLine: onProgress } : {}),
    })
    return runResult(end, config.output_dir)
  } finally {
    others.end()
  }
}

export function runResult(end: RunEnd, path: string): RunResult {
  const reason = end.reason === "interrupted" ? "interrupted" : "done"
  return {
    reason,
    steps: end.step,
    path,
    model: reason === "done" ? join(path, RUN_FILES.model) : null,
  }
}

/** A run that is prepared for somebody else's job: what the job is told, and where it writes. */
export interface PreparedJob {
  readonly engine: TorchEngineConfig
  readonly specPath: string
  readonly outputDir: string
}

/**
 * Prepares everything but the job's own file.
 *
 * @throws InputError also for a run that is done, which a job would not go on with
 */
export async function prepareJob(config: Config, options: TorchOptions = {}): Promise<PreparedJob> {
  const done = await finishedRun(config)
  if (done) {
    throw new InputError(
      `${done.path}: this run is done, after ${done.steps} steps, so there is nothing to go on with; its result is ${done.model}`,
    )
  }
  checkRunPlace(config)
  const engine = torchConfig(config)
  const plan = await torchPlan(config, options)
  if (plan.rollout) {
    throw new InputError(
      `objective: ${plan.objective.name} samples while it trains, and a job has no dftune beside it to reward its samples; run dftune train, or dftune launch torchrun, inside of the job`,
    )
  }
  const samples = await sampleSpec(plan)
  closeRows(plan)
  const { resume, best } = await resumedFrom(config)
  const folder = openRunFolder(config.output_dir, {
    record: { config, versions: await runVersions(plan) },
    step: resume === null ? 0 : checkpointStep(resume),
    overwrite: config.overwrite_output_dir && config.resume === false,
  })
  await bringBest(config, best)
  keepForeignModel(folder.path)
  folder.close()
  const specPath = await writeSpec(plan, resume, samples)
  return { engine, specPath, outputDir: resolve(config.output_dir) }
}

/** Prepares everything and writes an sbatch file, to be submitted by the user. Returns its path. */
export async function writeSbatch(config: Config, options: TorchOptions = {}): Promise<string> {
  const job = await prepareJob(config, options)
  const path = join(job.outputDir, "run.sbatch")
  const text = sbatchFile({
    ...job,
    config,
    python: choosePython(job.engine.python),
    torchrunArgs: options.torchrunArgs ?? [],
  })
  await writeFileAtomic(path, text)
  return path
}

/**
 * The data's plan, as the worker can honour it.
 *
 * @throws InputError as `planData`, and for what engine torch does not do of a run that samples
 */
export async function torchPlan(config: Config, options: PlanOptions): Promise<DataPlan> {
  const plan = await planData(config, options)
  checkRollouts(plan)
  return torchConfig(config).dtype === "bf16" ? weighingSampler(plan) : plan
}

async function writeSpec(
  plan: DataPlan,
  resume: string | null,
  samples: SampleSpec | undefined,
): Promise<string> {
  // what an adapter goes on from is its reference too, however far the run is
  const asks = resume === null || plan.earlier !== undefined
  const adapterStart = asks ? await writeAdapterStart(plan) : undefined
  const own = "isForeign" in plan.model ? undefined : plan.model
  const scores = own?.shape.scores ? await scoreSpec(own, plan) : undefined
  return writeRunSpec({
    ...(adapterStart ? { adapterStart } : {}),
    ...(samples ? { samples } : {}),
    ...(scores ? { scores } : {}),
    config: workerConfig(plan),
    earlier: plan.earlier,
    modelFolder: plan.modelFolder,
    objective: plan.objective,
    order: plan.order,
    prepared: plan.rows.dir,
    rows: plan.rows.rows,
    batches: plan.batches,
    evalSets: plan.evalSets.map(({ name, rows, ...set }) => ({
      name,
      prepared: rows.dir,
      rows: rows.rows,
      ...set,
    })),
    resume,
    layout: rowsLayout(plan),
    hasOwnHead: own?.hasOwnHead,
    isQuantized: own?.quantization !== undefined,
    rollout: rolloutSpec(plan),
  })
}

/** The local engine's prompts, and its tokenizer's texts. Reads the plan's rows while open. */
async function sampleSpec(plan: DataPlan): Promise<SampleSpec | undefined> {
  const settings = plan.config.generate_samples
  if (!settings) return undefined
  const tokenizer = await loadTokenizer(plan.modelFolder)
  const texts = { length: tokenizer.vocabSize }
  return {
    every: settings.every,
    maxNewTokens: settings.max_new_tokens,
    prompts: samplePrompts(plan).map((prompt) => ({
      tokenIds: prompt.tokenIds,
      text: tokenizer.decode(prompt.tokenIds),
      ...referenceOf(prompt, tokenizer),
    })),
    stopTokenIds: [...(await stopTokenIds(plan.modelFolder, tokenizer))],
    tokenTexts: Array.from(texts, (_, id) => tokenizer.tokenText(id)),
  }
}

/** A new score's first values are the local engine's own. */
async function scoreSpec(
  model: ModelConfig,
  { config, modelFolder }: DataPlan,
): Promise<ScoreSpec> {
  const known = {
    modelJson: JSON.stringify(model.json, null, 2),
    padToken: await padTokenOf(modelFolder),
  }
  const [first] = newScore(model, config.seed)
  if (first === undefined) return known
  const [name, { shape, data }] = first
  const start = join(config.output_dir, "score-start.safetensors")
  await writeSafetensors(start, [heldTensor(name, shape, data as Float32Array)])
  return { ...known, start }
}

/** The adapter's first values, the local engine's own: both engines start from the same numbers. */
async function writeAdapterStart(plan: DataPlan): Promise<string | undefined> {
  const { model, lora, config, earlier } = plan
  if (!lora || "isForeign" in model) return undefined // the worker draws it
  const path = join(config.output_dir, "adapter-start.safetensors")
  const { shape } = model
  const start = earlier?.tensors ?? heldTensors(initialLora(shape, lora, config.seed), shape)
  const tensors = adapterParameters(shape, lora).flatMap(({ name, shape: dims }) => {
    const held = decoderName(name)
    const values = start.get(held)
    if (!values) return [] // the base's own, or (a tied head) under its other name
    return [heldTensor(held, dims, values)]
  })
  await writeSafetensors(path, tensors)
  return path
}

/** The config as the worker reads it: an adapter that goes on is spelt out. */
function workerConfig({ config, earlier }: DataPlan): Config {
  if (!earlier || !config.adapter) return config
  const { spec } = earlier
  const { rankPattern = {}, alphaPattern = {} } = spec.options
  const paths = spec.layers.flatMap((modules, layer) =>
    [...modules.keys()].map((module) => layerPrefix(layer) + module),
  )
  const adapter = {
    ...config.adapter,
    ...{ r: spec.loraRank, lora_alpha: spec.loraAlpha },
    ...{ use_rslora: spec.useRslora, use_dora: spec.useDora, target_modules: paths },
    ...{ exclude_modules: null, layers_to_transform: null },
    ...{ rank_pattern: { ...rankPattern }, alpha_pattern: { ...alphaPattern } },
    modules_to_save: spec.saved.names.length > 0 ? [...spec.saved.names] : null,
  }
  return { ...config, adapter }
}

export function torchConfig({ engine }: Config): TorchEngineConfig {
  if (engine.name === "torch") return engine
  throw new InputError(`engine: ${engine.name}; this needs engine: torch (or --set engine=torch)`)
}

function* lintEvents({ lints, config }: DataPlan, step: number): Generator<RunEvent> {
  const said = config.resume !== false && step === 0 ? [FROM_THE_BEGINNING] : []
  for (const { code, message, hint } of [...said, ...lints]) {
    yield { type: "warning", time: now(), step, code, message, hint }
  }
}

async function writeReport(path: string): Promise<void> {
  const html = reportHtml(summarizeRuns([readRun(path)]))
  await writeFileAtomic(join(path, RUN_FILES.report), html)
}

const now = () => new Date().toISOString()
