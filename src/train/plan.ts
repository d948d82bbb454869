import { createHash } from "node:crypto"
import { freemem } from "node:os"
import { basename, extname } from "node:path"
import {
  type Lint,
  openPrepared,
  overlapLints,
  type Prepared,
  type PreparedData,
  prepareData,
  type RunOrder,
  runOrder,
} from "../data/index.ts"
import { resolveModel } from "../formats/index.ts"
import type { LoraInputs, WeightQuantization } from "../models/block.ts"
import {
  DEFAULT_GROUP_SIZE,
  type LoraSpec,
  loraScale,
  loraSpec,
  type ModelConfig,
  quantizedModelBytes,
  readModelConfig,
} from "../models/index.ts"
import { type Objective, objectiveFromConfig, objectiveToJson } from "../objectives/index.ts"
import type { Config, SourceConfig } from "../run/config.ts"
import { InputError } from "../run/errors.ts"
import type { Fingerprint } from "./checkpoint.ts"
import { type MemoryPlan, memoryPlan } from "./memory-plan.ts"
import { objectiveHead } from "./objective-head.ts"

/**
 * Supervised positions whose logits exist at once. A trained head reads and writes its whole
 * gradient once a chunk, so its chunks are larger.
 */
export const headRows = (adapter: unknown) => (adapter ? 128 : 256)

export interface NamedRows {
  readonly name: string
  readonly rows: Prepared
}

/** Everything a run needs to know before a weight is read. */
export interface RunPlan {
  readonly config: Config
  readonly modelFolder: string
  readonly model: ModelConfig
  readonly objective: Objective
  readonly lora: LoraSpec | undefined
  readonly quantization: WeightQuantization | undefined
  readonly rows: Prepared
  readonly order: RunOrder
  readonly evalSets: readonly NamedRows[]
  /** Warnings; errors have been thrown. */
  readonly lints: readonly Lint[]
  readonly memory: MemoryPlan
  readonly fingerprint: Fingerprint
}

export interface PlanOptions {
  readonly signal?: AbortSignal
  readonly onProgress?: (message: string) => void
}

/** The adapter's settings as the decoder takes them. */
export function loraInputs(spec: LoraSpec | undefined): LoraInputs | undefined {
  return (
    spec && {
      modules: new Set(spec.targetModules),
      rank: spec.loraRank,
      scale: loraScale(spec),
      dropout: spec.loraDropout,
    }
  )
}

/**
 * Finds the model, prepares the data and checks that everything fits together.
 *
 * @throws InputError for whatever of it is missing or wrong, before anything is computed
 */
export async function planRun(config: Config, options: PlanOptions = {}): Promise<RunPlan> {
  const { signal } = options
  const objective = objectiveFromConfig(config.objective)
  refuseUntrainable(objective)
  const modelFolder = await resolveModel(config.model, {
    revision: config.model_revision,
    ...(signal ? { signal } : {}),
  })
  const model = await readModelConfig(modelFolder)
  const lora = config.adapter ? adapterSpec(config.adapter) : undefined
  const quantization = weightQuantization(config)
  const prepared = await prepareRows(config, modelFolder, config.data.train, options)
  const evalSets: NamedRows[] = []
  const evals: string[] = []
  for (const [i, source] of config.data.eval.entries()) {
    const { dir } = await prepareRows(config, modelFolder, [source], options)
    evals.push(dir)
    evalSets.push({ name: setName(source, i, config.data.eval), rows: await openPrepared(dir) })
  }
  const rows = await openPrepared(prepared.dir)
  const { benchmarks } = config.data
  const overlaps = await overlapLints({ train: prepared.dir, evals, benchmarks })
  const order = runOrder({
    manifest: prepared.manifest,
    seed: config.seed,
    batchSize: config.batch_size,
    epochs: config.num_train_epochs,
    maxSteps: config.max_steps,
  })
  const memory = memoryPlan({
    shape: model.shape,
    lora: loraInputs(lora),
    tokens: config.micro_batch_tokens,
    recompute: config.recompute,
    bytes: config.device_memory === "auto" ? 0.9 * freemem() : config.device_memory,
    headRows: headRows(lora),
    reference: objectiveHead(objective).needsReference,
    ...(quantization ? { frozenBytes: quantizedModelBytes(model.shape, quantization) } : {}),
  })
  return {
    config,
    modelFolder,
    model,
    objective,
    lora,
    quantization,
    rows,
    order,
    evalSets,
    lints: [...prepared.lints, ...overlaps],
    memory,
    fingerprint: fingerprint(config, prepared, objective),
  }
}

function weightQuantization({ quantization }: Config): WeightQuantization | undefined {
  if (quantization === "none") return undefined
  return { bits: quantization === "int8" ? 8 : 4, groupSize: DEFAULT_GROUP_SIZE }
}

function adapterSpec(adapter: NonNullable<Config["adapter"]>): LoraSpec {
  return loraSpec({
    loraRank: adapter.r,
    loraAlpha: adapter.lora_alpha,
    loraDropout: adapter.lora_dropout,
    useRslora: adapter.use_rslora,
    targetModules: adapter.target_modules,
  })
}

/** Objectives of the list that need sampling or pairs while they train. */
function refuseUntrainable(objective: Objective): void {
  const inputs = objectiveHead(objective).settings.columns ?? []
  const missing = inputs.filter((name) => name === "advantage")
  if (missing.length === 0) return
  throw new InputError(
    `objective ${objective.name}: needs ${missing.join(" and ")} per token, which supervised rows do not have; ` +
      "sample and grade first (dftune generate, dftune grade --keep correct), then train with rft or dft",
  )
}

async function prepareRows(
  config: Config,
  tokenizer: string,
  sources: readonly SourceConfig[],
  { signal, onProgress }: PlanOptions,
): Promise<PreparedData> {
  const { data } = config
  const prepared = await prepareData({
    sources,
    tokenizer,
    format: data.format,
    maxLength: data.max_length,
    supervise: data.supervise,
    template: data.template,
    onBadRow: data.on_bad_row,
    ...(signal ? { signal } : {}),
    onProgress: ({ rows, fraction }) =>
      onProgress?.(
        `preparing rows: ${rows.toLocaleString("en-US")} (${Math.floor(100 * fraction)} %)`,
      ),
  })
  const errors = prepared.lints.filter((lint) => lint.severity === "error")
  if (errors.length > 0) {
    throw new InputError(errors.map(({ message, hint }) => `${message}; ${hint}`).join("\n"))
  }
  return prepared
}

/** The file's name without its ending, made different where two files share it. */
function setName({ path }: SourceConfig, index: number, all: readonly SourceConfig[]): string {
  const name = basename(path, extname(path))
  const shared = all.some(
    (other, i) => i !== index && basename(other.path, extname(other.path)) === name,
  )
  return shared ? `${name}-${index + 1}` : name
}

const short = (value: unknown) =>
  createHash("sha256").update(JSON.stringify(value)).digest("hex").slice(0, 12)

/** What makes a run this run: a checkpoint of another cannot be continued. */
function fingerprint(
  config: Config,
  { manifest }: PreparedData,
  objective: Objective,
): Fingerprint {
  const { adapter, batch_size, micro_batch_tokens, seed, max_steps, num_train_epochs } = config
  const { learning_rate, lr_scheduler, warmup_ratio, weight_decay, max_grad_norm } = config
  const { adam_beta1, adam_beta2, adam_epsilon, quantization } = config
  return {
    model: config.model,
    data: manifest.key,
    objective: short(objectiveToJson(objective)),
    adapter: short([adapter, quantization]),
    order: short([batch_size, micro_batch_tokens, config.data.packing, seed]),
    length: short([max_steps, num_train_epochs]),
    optimizer: short([
      ...[learning_rate, lr_scheduler, warmup_ratio, weight_decay, max_grad_norm],
      ...[adam_beta1, adam_beta2, adam_epsilon],
    ]),
  }
}
