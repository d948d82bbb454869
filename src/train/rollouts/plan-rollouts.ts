/** What a run that samples needs to know before a weight is read. */
import { existsSync } from "node:fs"
import type { Config, SourceConfig } from "../../config/index.ts"
import type { EndpointSourceConfig } from "../../config/rollout-schema.ts"
import { type RunOrder, runOrder } from "../../data/order.ts"
import { type PrepareOptions, templateSetup } from "../../data/prepare.ts"
import type { DataPrompt, PromptData } from "../../data/prompts.ts"
import { heldOutPrompts, readPrompts } from "../../data/prompts.ts"
import { InputError } from "../../errors.ts"
import { fileHash } from "../../formats/index.ts"
import { type ModelConfig, weightCount } from "../../models/index.ts"
import { gaeOf, needs, normalizedAdvantage, type Objective } from "../../objectives/index.ts"
import { rowProblem } from "../../rewards/index.ts"
import {
  type ChatTemplate,
  loadChatTemplate,
  loadTokenizer,
  stopTokenIds,
  type Tokenizer,
} from "../../text/index.ts"
import type { FixedBatches } from "../batches.ts"
import { type FrozenModelPlan, otherModel } from "../frozen-model.ts"
import { planWarnings } from "../plan-warnings.ts"
import { rewardModelHash } from "../reward-model.ts"
import { checkDelivery } from "./delivery.ts"
import type { RolloutSettings } from "./made-rollout.ts"

export interface RolloutPlan {
  readonly prompts: readonly DataPrompt[]
  readonly settings: RolloutSettings
  /** Prompts one by one, epoch after epoch. */
  readonly promptOrder: RunOrder
  readonly tokenizer: Tokenizer
  /** Of the model, or the config's; null: none. */
  readonly template: ChatTemplate | null
  readonly stopIds: ReadonlySet<number>
  /** Prompts that the policy is asked now and then, by name of the set. */
  readonly evalSets: readonly { readonly name: string; readonly prompts: readonly DataPrompt[] }[]
  /** Whom the model talks with. */
  readonly environment?: NonNullable<NonNullable<Config["rollout"]>["environment"]>
  /** A server that samples. */
  readonly source?: EndpointSourceConfig
  /** Another model that says how likely the samples are. */
  readonly measuredBy?: FrozenModelPlan
  /** By file: SHA-256 of the modules whose functions reward. */
  readonly code: Readonly<Record<string, string>>
}

export interface RolloutPlanParts {
  readonly config: Config
  readonly modelFolder: string
  readonly model: ModelConfig
  readonly objective: Objective
  /** How the config has rows of these sources read. */
  readonly rowsFor: (sources: readonly SourceConfig[]) => PrepareOptions
  readonly setName: (source: SourceConfig, index: number, all: readonly SourceConfig[]) => string
}

/**
 * Reads the prompts and checks that samples of them can be made, rewarded and trained.
 *
 * @throws InputError for whatever is missing or wrong
 */
export async function planRollouts(
  { config, modelFolder, model, objective, rowsFor, setName }: RolloutPlanParts,
  { signal }: { readonly signal?: AbortSignal } = {},
) {
  const { max_new_tokens } = config.rollout!
  const context = model.shape.maxPositionEmbeddings
  const { code, tokenizer, template, stopIds, read } = await promptReader(
    { config, modelFolder, rowsFor },
    signal,
  )
  const limits = { context, vocabSize: model.shape.vocabSize, max_new_tokens }
  const { eval: evalSources, eval_split: split } = config.data
  const all = await read(config.data.train, needsDemonstrations(config))
  checkPrompts(all, limits, tokenizer)
  const measuredBy = await otherModel(config, { tokenizer, ...limits }, signal)
  const parts =
    split > 0 && evalSources.length === 0
      ? heldOutPrompts(all, { split, seed: config.seed })
      : { train: all, held: undefined }
  const data = parts.train
  const evalSets: { name: string; prompts: readonly DataPrompt[] }[] = []
  if (parts.held) evalSets.push({ name: "held-out", prompts: parts.held.prompts })
  for (const [i, source] of evalSources.entries()) {
    const held = await read([source])
    checkPrompts(held, limits, tokenizer)
    evalSets.push({ name: setName(source, i, evalSources), prompts: held.prompts })
  }
  if (config.rollout!.source !== "local") checkDelivery(config.rollout!.source, modelFolder)
  const settings = rolloutSettings(config, objective)
  const promptOrder = runOrder({
    manifest: data.rows.manifest,
    seed: config.seed,
    batchSize: 1,
    epochs: null,
    maxSteps: 2 ** 40,
  })
  const steps = plannedSteps(config, settings, promptOrder.rowsPerEpoch)
  const order: RunOrder = {
    ...promptOrder,
    steps,
    rows: steps * config.batch_size,
    epochAt: (step) => step / steps,
  }
  const unusual = planWarnings({
    config,
    rows: data.prompts.length,
    truncated: 0,
    steps,
    rowsSeen: data.prompts.length,
    parameters: weightCount(model.shape),
    preference: true,
  }).filter(({ code }) => code === "unusual-learning-rate")
  const plan: RolloutPlan = {
    prompts: data.prompts,
    settings,
    promptOrder,
    tokenizer,
    template,
    stopIds,
    evalSets,
    code,
    ...(measuredBy ? { measuredBy } : {}),
    ...(config.rollout!.environment ? { environment: config.rollout!.environment } : {}),
    ...(config.rollout!.source === "local" ? {} : { source: config.rollout!.source }),
  }
  return {
    rollout: plan,
    rows: data.rows,
    prepared: { dir: "", manifest: data.rows.manifest, lints: [], fromCache: false },
    dataKey: data.rows.manifest.key,
    order,
    batches: stepsAlone(steps),
    evalSets: [],
    lints: [...data.warnings, ...unusual],
  }
}

/**
 * What reads prompts as a run would: their tokenizer, what ends a sample, and the rows.
 *
 * @throws InputError for what is missing or wrong
 */
export async function promptReader(
  { config, modelFolder, rowsFor }: Pick<RolloutPlanParts, "config" | "modelFolder" | "rowsFor">,
  signal?: AbortSignal,
) {
  const rollout = config.rollout!
  const { max_new_tokens: most } = rollout
  const { environment } = rollout
  const code = await rewardHashes([...rollout.rewards, ...(environment ? [environment] : [])])
  const tokenizer = await loadTokenizer(modelFolder)
  const stopIds = await stopTokenIds(modelFolder, tokenizer)
  if (stopIds.size === 0 && rollout.stop.length === 0) {
    throw new InputError(
      `${modelFolder}: names no token that ends a sample (eos_token_id in generation_config.json or config.json), so none would ever end; name it there, or give rollout.stop`,
    )
  }
  const read = (sources: readonly SourceConfig[], hasDemonstrations = false) =>
    readPrompts({
      demonstrations: hasDemonstrations ? most : undefined,
      data: config.data,
      prepare: rowsFor(sources),
      maxTokens: config.data.max_length - most,
      teacherPrompt: isOwnTeacher(config) ? config.teacher!.prompt : undefined,
      rowProblem: (row) => rowProblem(row, rollout.rewards),
      signal,
    })
  const { templateFile: file } = templateSetup(config.data.template)
  const template = await loadChatTemplate(modelFolder, file === null ? {} : { file })
  return { code, tokenizer, template, stopIds, read }
}

/**
 * Whether the rows' own answers are read: to stand beside samples, to begin them, or for a teacher.
 */
export function needsDemonstrations(config: Config): boolean {
  const { demonstrations, prefix } = config.rollout!
  return demonstrations > 0 || (prefix?.samples ?? 0) > 0 || isOwnTeacher(config)
}

const isOwnTeacher = ({ teacher }: Config) => teacher !== null && teacher.model === null

/** Of the modules' files and the reward models' weights. */
async function rewardHashes(
  rewards: readonly { readonly module?: string | undefined; readonly model?: string | undefined }[],
): Promise<Record<string, string>> {
  const found: Record<string, string> = {}
  for (const { module, model } of rewards) {
    if (model !== undefined) found[model] = await rewardModelHash(model)
    if (module === undefined) continue
    if (!existsSync(module)) {
      throw new InputError(
        `rollout.rewards: ${module}: no such file (looked in ${process.cwd()} and beside the config)`,
      )
    }
    found[module] = await fileHash(module)
  }
  return found
}

export function rolloutSettings(config: Config, objective: Objective): RolloutSettings {
  const rollout = config.rollout!
  const { num_generations: n, prompts } = rollout
  return {
    ...rollout,
    seed: config.seed,
    batchSize: config.batch_size,
    promptsPerRollout: prompts ?? config.batch_size / n,
    replay: rollout.replay && {
      ...rollout.replay,
      max: rollout.replay.max ?? 2 * config.batch_size,
    },
    weighsSampler: (rollout.importance ?? "none") !== "none",
    isRemote: rollout.source !== "local",
    rule: normalizedAdvantage(objective.name, rollout, gaeOf(objective)),
    isOwnTeacherLive: isOwnTeacher(config) && config.teacher!.weights === "live",
    ...(isOwnTeacher(config) && config.teacher!.weights === "average"
      ? { teacherRate: config.teacher!.rate ?? TEACHER_RATE }
      : {}),
    learnsFromRewards: needs(objective.expression).inputs.has("advantage"),
    ...(objective.name === "hpt" ? { gate: Number(objective.parameters.gate ?? 0) } : {}),
  }
}

/** As TRL's moving average of a reference has it. */
const TEACHER_RATE = 0.05

/** Optimizer steps of the passes that the config asks for, were every group trained. */
function plannedSteps(
  { max_steps, num_train_epochs, batch_size }: Config,
  { promptsPerRollout, num_generations, num_iterations }: RolloutSettings,
  perEpoch: number,
): number {
  if (max_steps !== null) return max_steps
  const rollouts = Math.max(1, Math.ceil((num_train_epochs! * perEpoch) / promptsPerRollout))
  return rollouts * num_iterations * ((promptsPerRollout * num_generations) / batch_size)
}

export interface Limits {
  readonly context: number
  readonly vocabSize: number
  readonly max_new_tokens: number
}

/** @throws InputError for a prompt that the model cannot take */
export function checkPrompts(
  { prompts }: PromptData,
  { context, vocabSize, max_new_tokens }: Limits,
  { tokenText }: Tokenizer,
): void {
  for (const { tokenIds, shown, where } of prompts) {
    if (shown && shown.length + max_new_tokens > context) {
      throw new InputError(
        `${where}: the teacher's prompt, with the demonstration in it, has ${shown.length} tokens, and with rollout.max_new_tokens ${max_new_tokens} that is more than the model's context of ${context}; leave the row out, or lower rollout.max_new_tokens`,
      )
    }
    const foreign = tokenIds.find((id) => id < 0 || id >= vocabSize)
    if (foreign !== undefined) {
      throw new InputError(
        `${where}: token ${foreign} (${JSON.stringify(tokenText(foreign))}) has no row in the model, whose vocab_size is ${vocabSize}; take the tokenizer that belongs to it`,
      )
    }
    if (tokenIds.length + max_new_tokens <= context) continue
    throw new InputError(
      `${where}: the prompt's ${tokenIds.length} tokens and rollout.max_new_tokens ${max_new_tokens} are more than the model's context of ${context} (max_position_embeddings); lower rollout.max_new_tokens, or data.max_length to ${context}, which leaves long prompts out`,
    )
  }
}

/** Steps whose rows are not known yet: rollouts make them. */
function stepsAlone(steps: number): FixedBatches {
  return {
    steps,
    batch: () => ({ rows: [] }),
    lengths: () => [],
    epochAt: (step) => step / steps,
    indices: () => [],
    sequences: () => [],
  }
}
