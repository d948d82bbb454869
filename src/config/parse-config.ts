import { InputError } from "../errors.ts"
import { isObject } from "../formats/json.ts"
import {
  type Objective,
  objectiveProblems,
  objectiveToConfig,
  trainsOnOf,
} from "../objectives/index.ts"
import { engineProblems, rowSharers } from "./engine-support.ts"
import { type ConfigProblem, type KeyPath, pathText, problems } from "./issues.ts"
import { keyProblems } from "./keys-in-config.ts"
import { unquoted } from "./quoted-values.ts"
import { type Config, configJsonSchema, resolve } from "./resolve-config.ts"
import { rolloutProblems } from "./rollout-checks.ts"
import { scheduleProblems } from "./schedule-checks.ts"
import { type ConfigInput, configFields, DEFAULT_WARMUP_RATIO, type Parsed } from "./schema.ts"
import { trainingProblems } from "./training-checks.ts"

/** A config as a TypeScript module writes it: an objective of one's own as it is. */
export type ModuleConfig = Omit<ConfigInput, "objective"> & {
  objective?: ConfigInput["objective"] | Objective
}

/** Types a config in a TypeScript module: `export default defineConfig({ ... })`. */
export function defineConfig(config: ModuleConfig): ConfigInput {
  return withPlainObjectives(config) as ConfigInput
}

/** Whether a value is what `tokenObjective` makes, by whichever copy of this package. */
function isOwnObjective(value: unknown): value is Objective {
  if (!isObject(value) || typeof value.name !== "string" || !("trainsOn" in value)) return false
  const { expression } = value
  return isObject(expression) && typeof expression.op === "string" && Array.isArray(expression.args)
}

/** Objectives of one's own, the run's and those of rows, as a file would have them. */
function withPlainObjectives(input: unknown): unknown {
  if (!isObject(input)) return input
  const plain = (value: unknown) => (isOwnObjective(value) ? objectiveToConfig(value) : value)
  const { objective, data } = input
  const sources = isObject(data) && Array.isArray(data.train) ? (data.train as unknown[]) : []
  const train = sources.map((source) =>
    isObject(source) && isOwnObjective(source.objective)
      ? { ...source, objective: plain(source.objective) }
      : source,
  )
  return {
    ...input,
    ...(objective === undefined ? {} : { objective: plain(objective) }),
    ...(train.some((source, i) => source !== sources[i])
      ? { data: { ...(data as object), train } }
      : {}),
  }
}

/**
 * Says where a key or its value stands, e.g. `dftune.yaml:12:3: `; with no file, an empty string.
 */
export type Locate = (path: KeyPath, at: "key" | "value") => string

/**
 * Checks a plain value against the schema, fills in the defaults, and checks what no single key
 * shows. Throws an `InputError` that lists everything wrong, a line each.
 */
export function parseConfig(written: unknown, locate: Locate = () => ""): Config {
  const input = withPlainObjectives(written)
  const keys = keyProblems(input)
  if (keys.length > 0) fail(keys, locate)
  const first = configFields.safeParse(input)
  const parsed = first.success ? first : configFields.safeParse(unquoted(input, first.error.issues))
  if (!parsed.success) fail(problems(parsed.error.issues, input, knownKeys), locate)
  const config = resolve(parsed.data)
  const found = [...crossChecks(config, parsed.data), ...engineProblems(config)]
  if (found.length > 0) fail(found, locate)
  return config
}

/** @throws InputError with all that was found, a line each */
export function fail(found: readonly ConfigProblem[], locate: Locate): never {
  const lines = found.map(({ path, at, message }) => {
    const name = at === "key" ? "" : pathText(path)
    return `${locate(path, at)}${name === "" ? "" : `${name}: `}${message}`
  })
  throw new InputError(lines.join("\n"))
}

export interface SchemaNode {
  readonly properties?: Readonly<Record<string, SchemaNode>>
  readonly items?: SchemaNode
  readonly anyOf?: readonly SchemaNode[]
  readonly oneOf?: readonly SchemaNode[]
  readonly const?: unknown
}

let schema: SchemaNode | undefined

const knownKeys = (path: KeyPath): string[] => {
  schema ??= configJsonSchema() as SchemaNode
  return keysBelow(schema, path)
}

/** Names that may stand below `path`: the keys of a mapping, or the values of a discriminator. */
export function keysBelow(schema: SchemaNode, path: KeyPath): string[] {
  const branches = (node: SchemaNode): SchemaNode[] => [
    node,
    ...[...(node.anyOf ?? []), ...(node.oneOf ?? [])].flatMap(branches),
  ]
  let nodes = branches(schema)
  for (const key of path) {
    nodes = nodes.flatMap((node) => {
      const inner = typeof key === "number" ? node.items : node.properties?.[String(key)]
      return inner === undefined ? [] : branches(inner)
    })
  }
  const names = nodes.flatMap((node) => [
    ...Object.keys(node.properties ?? {}),
    ...(typeof node.const === "string" ? [node.const] : []),
  ])
  return [...new Set(names)]
}

const problem = (path: string, message: string): ConfigProblem => ({
  path: path.split("."),
  at: "value",
  message,
})

/** What is wrong between keys. `given` is the config before its defaults were resolved. */
function crossChecks(
  config: Config,
  given: Pick<Parsed, "num_train_epochs" | "warmup_ratio">,
): ConfigProblem[] {
  const found: ConfigProblem[] = []
  const { objective, data } = config
  if (config.quantization !== "none" && config.adapter === null) {
    found.push(
      problem(
        "quantization",
        `${config.quantization} keeps the model frozen, so it needs an adapter; add adapter: { type: lora }`,
      ),
    )
  }
  for (const { path, at, message } of objectiveProblems(objective)) {
    found.push({ path: ["objective", ...path], at, message })
  }
  const trainsOn = trainsOnOf(objective)
  found.push(...rolloutProblems(config, trainsOn && { name: objective.name, trainsOn }))
  const sharers = rowSharers(config)
  if (
    config.micro_batch_tokens !== "auto" &&
    config.micro_batch_tokens * sharers < data.max_length
  ) {
    found.push(
      problem(
        "micro_batch_tokens",
        `${config.micro_batch_tokens} cannot hold one row of data.max_length ${data.max_length}${sharers > 1 ? `, which ${sharers} processes share` : ""}; raise it or shorten the rows`,
      ),
    )
  }
  if (config.warmup_steps !== null && given.warmup_ratio !== DEFAULT_WARMUP_RATIO) {
    found.push(problem("warmup_steps", "give warmup_steps or warmup_ratio, not both"))
  }
  found.push(...scheduleProblems(config), ...trainingProblems(config))
  if (config.max_steps !== null && given.num_train_epochs !== null) {
    found.push(problem("max_steps", "give max_steps or num_train_epochs, not both"))
  }
  data.train.forEach(({ objective: own }, i) => {
    if (own === undefined || typeof own === "string") return
    for (const { path, at, message } of objectiveProblems(own)) {
      found.push({ path: ["data", "train", String(i), "objective", ...path], at, message })
    }
  })
  for (const set of ["train", "eval"] as const) {
    data[set].forEach((source, i) => {
      if (source.shuffle_seed !== undefined && source.max_rows === undefined) {
        found.push(
          problem(
            `data.${set}`,
            `entry ${i + 1}: shuffle_seed chooses max_rows rows, and max_rows is not given`,
          ),
        )
      }
    })
  }
  return found
}
