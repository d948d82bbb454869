import { basename, extname } from "node:path"
import type { Config, SourceConfig } from "../config/index.ts"
import {
  heldOut,
  openPrepared,
  overlapLints,
  type Prepared,
  type PreparedData,
  type RunOrder,
  runOrder,
} from "../data/index.ts"
import { resolveSources } from "../data/sources.ts"
import { assert, InputError } from "../errors.ts"
import { resolvedPrecision } from "../models/files/precision.ts"
import { type ForeignModel, type LoraSpec, type ModelConfig, weightCount } from "../models/index.ts"
import { type Objective, objectiveBySource, objectiveFromConfig } from "../objectives/index.ts"
import { shortBytes } from "../report/units.ts"
import { loadTokenizer } from "../text/index.ts"
import { alikeTokenWarnings } from "./alike-tokens.ts"
import type { FixedBatches } from "./batches.ts"
import type { EarlierAdapter } from "./earlier-adapter.ts"
import { type FrozenModelPlan, otherModel } from "./frozen-model.ts"
import { keptObjective } from "./kept-settings.ts"
import { type LocalPlan, localPlan } from "./local-plan.ts"
import type { MemoryPlan } from "./memory-plan.ts"
import { labelCounts, modelRowLints } from "./model-rows.ts"
import { batchesOf, evalBatches, refuseSettings, withSources } from "./objective-batches.ts"
import { type PlanWarning, planWarnings } from "./plan-warnings.ts"
import { plannedModel } from "./planned-model.ts"
import { planRollouts, type RolloutPlan } from "./rollouts/plan-rollouts.ts"
import { forgettingTexts, picturesOf, prepareRows, rowOptions } from "./row-options.ts"
import { dayOfRun, rowsToResume } from "./rows-to-resume.ts"

export interface NamedRows {
  readonly name: string
  readonly rows: Prepared
  /** As steps of the objective, where its loss couples tokens. */
  readonly batches?: FixedBatches
}

/** What every engine needs to know before a weight is read. */
export interface DataPlan {
  readonly config: Config
  readonly modelFolder: string
  /** Of a type that the local engine does not have, where the torch engine trains it. */
  readonly model: ModelConfig | ForeignModel
  readonly objective: Objective
  readonly lora: LoraSpec | undefined
  /** The adapter that training goes on from. */
  readonly earlier?: EarlierAdapter | undefined
  readonly prepared: PreparedData
  readonly rows: Prepared
  readonly order: RunOrder
  /** The same steps as the loop takes them. */
  readonly batches: FixedBatches
  readonly evalSets: readonly NamedRows[]
  /** By which checkpoints know the rows. */
  readonly dataKey: string
  /** Warnings; errors have been thrown. */
  readonly lints: readonly PlanWarning[]
  /** Texts that the run does not train on, for what it forgets. */
  readonly forgettingTexts?: Prepared
  /** Of a run that samples: its prompts. `rows` are them too, and `batches` only their steps. */
  readonly rollout?: RolloutPlan
  /** Of rows that are compared with another model than the start: that one. */
  readonly measuredBy?: FrozenModelPlan | undefined
}

/** And what the local engine needs besides. */
export interface RunPlan extends DataPlan, LocalPlan {
  readonly model: ModelConfig
}

export interface PlanOptions {
  readonly signal?: AbortSignal
  readonly onProgress?: (message: string) => void
  /** Of a run that goes on: whether it began so (`SplitOptions`). */
  readonly together?: boolean
  /** Before the run begins, time is measured on a few layers with made-up weights. */
  readonly timed?: boolean
}

/**
 * Finds the model, prepares the data and checks that everything fits together: the same for every
 * engine.
 *
 * @throws InputError for whatever of it is missing or wrong, before anything is computed
 */
export async function planData(given: Config, options: PlanOptions = {}): Promise<DataPlan> {
  const { signal } = options
  const config: Config = { ...given, objective: await keptObjective(given) }
  const objective = objectiveOf(config)
  refuseSettings(objective, config)
  const found = await plannedModel(config, objective, signal)
  const { modelFolder, model, own, lora, earlier, padTokenId } = found
  const day = dayOfRun(config)
  const pictures = await picturesOf(config, modelFolder, objective)
  const rowsFor = (sources: readonly SourceConfig[]) => ({
    ...rowOptions(config, modelFolder, sources, objective),
    ...pictures,
    day,
  })
  const asked = rowsFor(config.data.train)
  if (config.rollout) {
    if (own === undefined) {
      throw new InputError(
        `objective: ${objective.name} samples while it trains, which is of the families that the local engine knows, and ${config.model} is none of them`,
      )
    }
    const known = { config, modelFolder, model: own, objective, lora, earlier }
    const planned = await planRollouts({ ...known, rowsFor, setName }, options)
    return { ...known, ...planned, lints: [...found.lints, ...planned.lints] }
  }
  const all = await prepareRows(asked, options)
  const { eval: evalSources, eval_split: split } = config.data
  const parts =
    evalSources.length === 0 && split > 0
      ? await heldOut(all, { split, seed: config.seed })
      : { train: all, held: undefined }
  const { prepared, dataKey } = await rowsToResume(config, parts.train, asked)
  const sets = [...(parts.held === undefined ? [] : [{ name: "held-out", dir: parts.held.dir }])]
  for (const [i, source] of evalSources.entries()) {
    const { dir } = await prepareRows(rowsFor([source]), options)
    sets.push({ name: setName(source, i, evalSources), dir })
  }
  const evalSets = await openEvalSets(sets, objective, { ...config, padTokenId })
  const rows = await openPrepared(prepared.dir)
  const { benchmarks } = config.data
  const overlaps = await overlapLints({
    train: prepared.dir,
    evals: sets.map(({ dir }) => dir),
    benchmarks,
  })
  const order = runOrder({
    manifest: prepared.manifest,
    seed: config.seed,
    batchSize: config.batch_size,
    epochs: config.num_train_epochs,
    maxSteps: config.max_steps,
  })
  const { manifest } = prepared
  const unusual = planWarnings({
    config,
    rows: manifest.rows,
    truncated: manifest.sources.reduce((sum, { truncated }) => sum + truncated, 0),
    steps: order.steps,
    rowsSeen: order.rows,
    parameters: own && weightCount(own.shape),
    preference: objective.trainsOn === "pairs" || objective.trainsOn === "labels",
    ...(objective.trainsOn === "labels" ? { labels: await labelCounts(rows) } : {}),
  })
  const unfit = await modelRowLints(rows, model.shape, modelFolder)
  for (const { rows: held } of evalSets) await modelRowLints(held, model.shape, modelFolder)
  const alike = own && lora ? await alikeTokenWarnings(rows, { model: own, modelFolder, lora }) : []
  const lints = [...found.lints, ...prepared.lints, ...overlaps, ...unfit, ...alike, ...unusual]
  const batches = withSources(
    batchesOf(objective, rows, order, { ...config, padTokenId }),
    objective,
    await placesOfFiles(config.data.train, signal),
  )
  const { vocabSize } = model.shape
  const measuredBy = config.reference
    ? await otherModel(config, { tokenizer: await loadTokenizer(modelFolder), vocabSize }, signal)
    : undefined
  const known = { config, modelFolder, model, objective, lora, earlier, measuredBy, dataKey }
  return { ...known, prepared, rows, order, batches, evalSets, lints }
}

/** The sets that are measured beside the rows that are trained. */
async function openEvalSets(
  sets: readonly { readonly name: string; readonly dir: string }[],
  objective: Objective,
  settings: Parameters<typeof evalBatches>[2],
): Promise<NamedRows[]> {
  const opened: NamedRows[] = []
  for (const { name, dir } of sets) {
    const rows = await openPrepared(dir)
    const batches = evalBatches(objective, rows, settings)
    opened.push({ name, rows, ...(batches ? { batches } : {}) })
  }
  return opened
}

/**
 * The local engine's plan: the data's, and how it fits this machine's memory.
 *
 * @throws InputError as `planData`, and for `engine: torch`, whose worker plans its own memory
 */
export async function planRun(config: Config, options: PlanOptions = {}): Promise<RunPlan> {
  if (config.engine.name !== "onnx") {
    throw new InputError(
      `engine: ${config.engine.name}; this computes on the local engine, engine: onnx`,
    )
  }
  const planned = await planData(config, options)
  const { model } = planned
  assert(!("isForeign" in model), "the local engine's plan is of its own families")
  const dtype = resolvedPrecision(config.engine, model.shape)
  const isRemote = (config.rollout?.source ?? "local") !== "local"
  const data = dtype === "bf16" || isRemote ? weighingSampler(planned) : planned
  const { objective, lora, rows } = data
  const texts = await forgettingTexts(config, data.modelFolder, options)
  const longest = data.rollout ? data.rollout.settings.max_new_tokens : 0
  const fitted = localPlan({
    ...{ config, model, objective, lora },
    engine: { ...config.engine, dtype },
    lengths: sequenceLengths(rows, longest),
    held: process.memoryUsage.rss(),
    measuredBy: data.rollout?.measuredBy?.model,
    together: options.together,
  })
  checkMemory(config, fitted.memory)
  return {
    ...data,
    ...(texts ? { forgettingTexts: texts } : {}),
    model,
    config: { ...data.config, engine: fitted.engine },
    ...fitted,
  }
}

/**
 * A server's probabilities are not training's, and in bfloat16 the sampler's are not either: unless
 * the config says otherwise, tokens are weighed by how far they are apart, where the first rollout
 * finds them apart at all; those of older weights are.
 */
export function weighingSampler(data: DataPlan): DataPlan {
  const { rollout } = data.config
  if (!data.rollout || rollout === null || rollout.importance !== null) return data
  const config: Config = { ...data.config, rollout: { ...rollout, importance: "token-truncate" } }
  const settings = {
    ...data.rollout.settings,
    weighsSampler: rollout.max_staleness > 0 || ("if-apart" as const),
  }
  return { ...data, config, objective: objectiveOf(config), rollout: { ...data.rollout, settings } }
}

/** Refuses a limit that even the leanest plan is over. */
function checkMemory({ device_memory: limit }: Config, { total }: MemoryPlan): void {
  if (limit === "auto" || total <= limit) return
  const shown = [limit, total].map(shortBytes)
  throw new InputError(
    `device_memory: ${shown[0]} is less than the ${shown[1]} that this run needs at least; raise it, or train an adapter over quantization: int4, or lower data.max_length`,
  )
}

/** Lets go of the prepared rows of a plan that nobody trains. */
export function closeRows({ rows, evalSets, forgettingTexts }: DataPlan): void {
  rows.close()
  forgettingTexts?.close()
  for (const { rows } of evalSets) rows.close()
}

/** The run's objective, and those of sources that have their own. */
function objectiveOf({ objective, data, rollout }: Config): Objective {
  if (rollout) {
    const { importance, importance_cap: cap } = rollout
    return objectiveFromConfig(objective, { importance: importance ?? "none", cap })
  }
  const own = data.train.flatMap(({ objective }, place) =>
    objective === undefined ? [] : [[place, objectiveFromConfig(objective)] as const],
  )
  return objectiveBySource(objectiveFromConfig(objective), new Map(own))
}

/** Which entry of data.train each file belongs to. Only asked where entries differ. */
async function placesOfFiles(
  sources: readonly SourceConfig[],
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<string, number>> {
  const places = new Map<string, number>()
  if (sources.every(({ objective }) => objective === undefined)) return places
  for (const [place, { files }] of (await resolveSources(sources, { signal })).entries()) {
    for (const { path } of files) {
      if (places.has(path)) {
        throw new InputError(
          `data.train: ${path} is in two entries, so it cannot have two objectives; name it once`,
        )
      }
      places.set(path, place)
    }
  }
  return places
}

/** Tokens of every sequence of the rows, with what is sampled after each. */
function sequenceLengths(rows: Prepared, sampled: number): number[] {
  const all: number[] = []
  for (let index = 0; index < rows.rows; index++)
    all.push(...rows.sequenceLengths(index).map((length) => length + sampled))
  return all
}

/** The file's name without its ending, made different where two files share it. */
function setName({ path }: SourceConfig, index: number, all: readonly SourceConfig[]): string {
  const name = basename(path, extname(path))
  const shared = all.some(
    (other, i) => i !== index && basename(other.path, extname(other.path)) === name,
  )
  return shared ? `${name}-${index + 1}` : name
}
