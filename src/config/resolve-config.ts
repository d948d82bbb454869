import { z } from "zod"
import { definitionOf, trainsOnOf, withParameterDefaults } from "../objectives/index.ts"
import { objectiveJsonSchema } from "./objective-schema.ts"
import { PREFIX, type RolloutFields, rolloutFields } from "./rollout-schema.ts"
import { scheduleOptions } from "./schedule-schema.ts"
import {
  type AdapterConfig,
  adapterFields,
  configFields,
  type EngineConfig,
  expression,
  MICRO_BATCH_TOKENS,
  type NewTokenConfig,
  type ObjectiveConfig,
  objectiveFields,
  onnxEngine,
  type Parsed,
  type RewardConfig,
  type SourceConfig,
  type SourceEntry,
  torchEngine,
} from "./schema.ts"
import { type TeacherConfig, teacherFields } from "./teacher-schema.ts"

export interface DataConfig
  extends Omit<Parsed["data"], "train" | "eval" | "benchmarks" | "template"> {
  /** auto, none, a path, or true. */
  template: string | true
  train: SourceConfig[]
  eval: SourceConfig[]
  benchmarks: SourceConfig[]
}

/**
 * A resolved config: every default filled in, every short form (a name for an engine or an
 * objective, a path for a source) written out. It is itself valid input and resolves to itself.
 */
export interface Config
  extends Omit<
    Parsed,
    | "adapter"
    | "data"
    | "model_tokens"
    | "objective"
    | "learning_rate"
    | "engine"
    | "micro_batch_tokens"
    | "device_memory"
    | "rollout"
    | "teacher"
  > {
  adapter: AdapterConfig | null
  model_tokens: NewTokenConfig[]
  data: DataConfig
  objective: ObjectiveConfig
  learning_rate: number
  /** null: the objective is not on samples. */
  rollout: RolloutConfig | null
  /** null: the objective has none. */
  teacher: TeacherConfig | null
  engine: EngineConfig
  /** auto only where the engine chooses, knowing the device. */
  micro_batch_tokens: number | "auto"
  /** Bytes, or auto. */
  device_memory: number | "auto"
}

export interface RolloutConfig
  extends Omit<RolloutFields, "rewards" | "filter_groups" | "demonstrations"> {
  rewards: RewardConfig[]
  demonstrations: number
  filter_groups: NonNullable<RolloutFields["filter_groups"]>
}

const UNITS: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
}

function memoryBytes(value: Parsed["device_memory"]): number | "auto" {
  if (typeof value === "number" || value === "auto") return value
  const [, amount, unit] = /^([\d.]+) ?(\w+)$/.exec(value)!
  return Math.floor(Number(amount) * UNITS[unit!]!)
}

const fullObjective = (objective: string | ObjectiveConfig): ObjectiveConfig =>
  withParameterDefaults(
    typeof objective === "string" ? objectiveFields.parse({ name: objective }) : objective,
  ) as ObjectiveConfig

function writtenOut(entry: SourceEntry | SourceConfig): SourceConfig {
  if (typeof entry === "string") return { path: entry, weight: 1 }
  const { objective, ...source }: SourceConfig = entry
  return objective === undefined ? source : { ...source, objective: fullObjective(objective) }
}

const listOf = <T>(value: T | T[]): T[] => (Array.isArray(value) ? value : [value])

/** Fills what depends on other keys and writes short forms out. */
export function resolve(parsed: Parsed): Config {
  const { adapter, objective, engine, data } = parsed
  const resolved = {
    ...parsed,
    adapter: adapter === "lora" ? adapterFields.parse({}) : adapter,
    model_tokens: parsed.model_tokens.map((token) =>
      typeof token === "string" ? { token, special: true } : token,
    ),
    data: {
      ...data,
      template: data.template || "none",
      train: listOf(data.train).map(writtenOut),
      eval: listOf(data.eval).map(writtenOut),
      benchmarks: listOf(data.benchmarks).map(writtenOut),
    },
    objective: fullObjective(objective),
    engine:
      typeof engine !== "string"
        ? engine
        : engine === "onnx"
          ? onnxEngine.parse({ name: engine })
          : torchEngine.parse({ name: engine }),
    recompute: recomputeOf(parsed),
    num_train_epochs: parsed.max_steps === null ? (parsed.num_train_epochs ?? 1) : null,
    device_memory: memoryBytes(parsed.device_memory),
  }
  return {
    ...resolved,
    learning_rate: parsed.learning_rate ?? learningRate(resolved),
    lr_scheduler_kwargs: scheduleOptions(parsed),
    rollout: rolloutOf(parsed.rollout, resolved.objective),
    teacher: teacherOf(parsed.teacher, resolved.objective),
    micro_batch_tokens: microBatchTokens(parsed.micro_batch_tokens, resolved),
  }
}

function recomputeOf({ recompute, gradient_checkpointing: asked }: Parsed): Parsed["recompute"] {
  if (asked === null || recompute !== "auto") return recompute
  return asked ? "always" : "never"
}

/** Objectives on samples have rollouts whether or not the config says more of them. */
function rolloutOf(given: RolloutFields | null, objective: ObjectiveConfig): RolloutConfig | null {
  if (given === null && trainsOnOf(objective) !== "rollouts") return null
  const rollout = given ?? rolloutFields.parse({})
  const definition = definitionIn(objective)
  const rewards = rollout.rewards ?? (definition?.teacher ? [] : ["math"])
  return {
    ...rollout,
    rewards: rewards.map((one) => (typeof one === "string" ? { name: one, weight: 1 } : one)),
    demonstrations: rollout.demonstrations ?? (definition?.demonstrations === "beside" ? 1 : 0),
    prefix: rollout.prefix ?? (definition?.demonstrations === "begun" ? PREFIX : null),
    filter_groups: rollout.filter_groups ?? (objective.name === "dapo" ? "resample" : "drop"),
  }
}

const definitionIn = ({ expression, name }: ObjectiveConfig) =>
  expression === undefined ? definitionOf(name) : undefined

/** An objective that is its own teacher has one whether or not the config says more of it. */
function teacherOf(given: Parsed["teacher"], objective: ObjectiveConfig): TeacherConfig | null {
  if (typeof given === "string") return teacherFields.parse({ model: given })
  return given ?? (definitionIn(objective)?.teacher === "itself" ? teacherFields.parse({}) : null)
}

/**
 * Losses that compare answers are sums over their tokens, and push both ways: they bear far less.
 */
function learningRate({ objective, adapter }: Pick<Config, "objective" | "adapter">): number {
  const definition = objective.expression === undefined ? definitionOf(objective.name) : undefined
  if (!definition?.signed) return 5e-5
  // one number a text, a mean over pairs: as other trainers have it
  if (definition.trainsOn === "scores") return adapter === null ? 1e-5 : 1e-4
  return adapter === null ? 1e-6 : 1e-5
}

/** Left to the engine where the split into micro-batches changes nothing but time and memory. */
function microBatchTokens(
  given: number | "auto",
  { objective, data }: Pick<Config, "objective"> & Pick<Parsed, "data">,
): number | "auto" {
  if (given !== "auto" || objective.normalization !== "paper") return given
  return Math.max(MICRO_BATCH_TOKENS, data.max_length)
}

interface SchemaNode {
  description?: string
  anyOf?: SchemaNode[]
  properties?: Record<string, SchemaNode>
  items?: SchemaNode
  $ref?: string
}

/** The JSON Schema (2020-12) of what a user may write, with descriptions, for editors. */
export function configJsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(configFields, { io: "input" }) as SchemaNode
  liftDescriptions(schema)
  const own = z.toJSONSchema(expression, { io: "input" }) as Record<string, unknown>
  schema.properties!.objective = objectiveJsonSchema(own)
  referToObjective(schema.properties!.data!.properties!.train!)
  return { ...schema, title: "dftune config" }
}

/** A source's objective is what the run's may be. */
function referToObjective(node: SchemaNode): void {
  const own = node.properties?.objective
  if (own) {
    const { description = "" } = own
    node.properties!.objective = { $ref: "#/properties/objective", description }
  }
  for (const branch of [...(node.anyOf ?? []), ...(node.items ? [node.items] : [])]) {
    referToObjective(branch)
  }
}

/** A nullable key keeps its description one level down, where editors do not look. */
function liftDescriptions(node: SchemaNode): void {
  for (const property of Object.values(node.properties ?? {})) {
    const inner = property.anyOf?.find(({ description }) => description !== undefined)
    if (property.description === undefined && inner?.description !== undefined) {
      property.description = inner.description
    }
    liftDescriptions(property)
  }
  for (const branch of node.anyOf ?? []) liftDescriptions(branch)
}
