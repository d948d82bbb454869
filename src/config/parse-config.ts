import { didYouMean } from "../closest-name.ts"
import { InputError } from "../errors.ts"
import { engineProblems } from "./engine-support.ts"
import { type ConfigProblem, type KeyPath, pathText, problems } from "./issues.ts"
import { type Config, configJsonSchema, resolve } from "./resolve-config.ts"
import { type ConfigInput, configFields, OBJECTIVES } from "./schema.ts"

/** Types a config in a TypeScript module: `export default defineConfig({ ... })`. */
export function defineConfig(config: ConfigInput): ConfigInput {
  return config
}

/** Says where a key or its value stands, e.g. `dftune.yaml:12:3: `; with no file, an empty string. */
export type Locate = (path: KeyPath, at: "key" | "value") => string

/**
 * Checks a plain value against the schema, fills in the defaults, and checks what no single key
 * shows. Throws an `InputError` that lists everything wrong, a line each.
 */
export function parseConfig(input: unknown, locate: Locate = () => ""): Config {
  const parsed = configFields.safeParse(input)
  if (!parsed.success) fail(problems(parsed.error.issues, input, knownKeys), locate)
  const config = resolve(parsed.data)
  const found = [...crossChecks(config, parsed.data), ...engineProblems(config)]
  if (found.length > 0) fail(found, locate)
  return config
}

function fail(found: readonly ConfigProblem[], locate: Locate): never {
  const lines = found.map(({ path, at, message }) => {
    const name = at === "key" ? "" : pathText(path)
    return `${locate(path, at)}${name === "" ? "" : `${name}: `}${message}`
  })
  throw new InputError(lines.join("\n"))
}

interface SchemaNode {
  readonly properties?: Readonly<Record<string, SchemaNode>>
  readonly items?: SchemaNode
  readonly anyOf?: readonly SchemaNode[]
  readonly oneOf?: readonly SchemaNode[]
  readonly const?: unknown
}

let schema: SchemaNode | undefined

/** Names that may stand below `path`: the keys of a mapping, or the values of a discriminator. */
function knownKeys(path: KeyPath): string[] {
  schema ??= configJsonSchema() as SchemaNode
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
  given: { readonly num_train_epochs: number | null },
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
  if (objective.expression === undefined && !OBJECTIVES.includes(objective.name)) {
    found.push(
      problem(
        "objective",
        `unknown objective "${objective.name}"${didYouMean(objective.name, OBJECTIVES) || ";"} known: ${OBJECTIVES.join(", ")}`,
      ),
    )
  }
  const { weight_floor: floor, weight_ceiling: ceiling, ramp } = objective
  if (floor !== undefined && ceiling !== undefined && floor > ceiling) {
    found.push(problem("objective.weight_floor", `${floor} is above weight_ceiling ${ceiling}`))
  }
  if (ramp !== undefined && ramp.start > ramp.end) {
    found.push(problem("objective.ramp", `start ${ramp.start} is after end ${ramp.end}`))
  }
  if (config.micro_batch_tokens !== "auto" && config.micro_batch_tokens < data.max_length) {
    found.push(
      problem(
        "micro_batch_tokens",
        `${config.micro_batch_tokens} cannot hold one row of data.max_length ${data.max_length}; raise it or shorten the rows`,
      ),
    )
  }
  if (config.max_steps !== null && given.num_train_epochs !== null) {
    found.push(problem("max_steps", "give max_steps or num_train_epochs, not both"))
  }
  if (objective.name === "dpo" && !["auto", "preference"].includes(data.format)) {
    found.push(
      problem("data.format", `objective dpo needs preference rows, got format ${data.format}`),
    )
  }
  if (config.rollout !== null && !["grpo", "ppo"].includes(objective.name)) {
    found.push(
      problem(
        "rollout",
        `objective ${objective.name} does not generate while it trains; only grpo and ppo do`,
      ),
    )
  }
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
