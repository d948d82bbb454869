/**
 * An objective as JSON and back (docs/architecture.md, seam 2). What comes back is checked: it may
 * come from a stranger.
 */
import { InputError } from "../errors.ts"
import { type Expression, topologicalOrder } from "./expression.ts"
import {
  expressionFromNodes,
  type NodeJson,
  nodeIndex,
  nodesFromJson,
  nodesToJson,
} from "./expression-json.ts"
import {
  checkTrains,
  type Measures,
  NORMALIZATIONS,
  type Normalization,
  type Objective,
  rowsOf,
} from "./objective.ts"

/**
 * Version 2 knows more inputs, reductions and divisors, the reported `value` and the `measures`.
 * What version 1 can say is still written as version 1, so that its hashes stay what they were.
 */
export interface ObjectiveJson {
  readonly version: 1 | 2
  readonly name: string
  readonly normalization: Normalization
  readonly nodes: readonly NodeJson[]
  readonly output: number
  readonly value?: number
  readonly measures?: Readonly<Record<string, number>>
}

const VERSION_1 = {
  inputs: new Set(
    "logp entropy topk_entropy ref_logp kl_ref old_logp advantage token_class progress step steps".split(
      " ",
    ),
  ),
  laterReductions: new Set(["pair_sum", "batch_sum", "batch_rank"]),
  normalizations: new Set(["tokens", "sequences", "weights", "paper"]),
}

function versionOf({ expression, value, measures, normalization }: Objective): 1 | 2 {
  if (value || measures || !VERSION_1.normalizations.has(normalization)) return 2
  const newer = topologicalOrder([expression]).some(({ op, name }) =>
    op === "input" ? !VERSION_1.inputs.has(name!) : VERSION_1.laterReductions.has(op),
  )
  return newer ? 2 : 1
}

export function objectiveToJson(objective: Objective): ObjectiveJson {
  const { name, normalization } = objective
  return { version: versionOf(objective), name, normalization, ...written(objective) }
}

function written({ expression, value, measures = {} }: Objective) {
  const named = Object.entries(measures)
  const roots = [expression, ...(value ? [value] : []), ...named.map(([, measure]) => measure)]
  const { nodes, indexOf } = nodesToJson(roots)
  const indices = named.map(([name, measure]) => [name, indexOf(measure)] as const)
  return {
    nodes,
    output: indexOf(expression),
    ...(value ? { value: indexOf(value) } : {}),
    ...(named.length > 0 ? { measures: Object.fromEntries(indices) } : {}),
  }
}

/** Throws InputError naming the key. */
export function objectiveFromJson(json: unknown, where = "objective"): Objective {
  const built = nodesFromJson(json, where)
  const {
    version,
    name,
    normalization = "tokens",
    output,
    value,
    measures,
  } = json as Record<string, unknown>
  const expression = expressionFromNodes(built, output, where)
  if (version !== 1 && version !== 2) {
    throw new InputError(`${where}.version: expected 1 or 2, got ${shown(version)}`)
  }
  if (typeof name !== "string" || !/^[\w.+-]{1,64}$/.test(name)) {
    throw new InputError(
      `${where}.name: expected 1 to 64 letters, digits, dots or dashes, got ${shown(name)}`,
    )
  }
  if (!(NORMALIZATIONS as readonly unknown[]).includes(normalization)) {
    throw new InputError(
      `${where}.normalization: expected one of ${NORMALIZATIONS.join(", ")}, got ${shown(normalization)}`,
    )
  }
  checkTrains(name, expression)
  return {
    name,
    expression,
    normalization: normalization as Normalization,
    parameters: {},
    trainsOn: rowsOf(expression),
    ...(value === undefined ? {} : { value: built[nodeIndex(value, built, `${where}.value`)]! }),
    ...(measures === undefined ? {} : { measures: measuresFromJson(measures, built, where) }),
  }
}

/** A measure becomes a field of events: its name is one that they can have. */
const MEASURE = /^[a-z][a-z0-9_]{0,63}$/

function measuresFromJson(json: unknown, built: readonly Expression[], where: string): Measures {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new InputError(`${where}.measures: expected an object, got ${shown(json)}`)
  }
  return Object.fromEntries(
    Object.entries(json).map(([name, index]) => {
      if (!MEASURE.test(name)) {
        throw new InputError(
          `${where}.measures: expected names of small letters, digits and underscores, got ${shown(name)}`,
        )
      }
      return [name, built[nodeIndex(index, built, `${where}.measures.${name}`)]!]
    }),
  )
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? String(value)).slice(0, 80)
}

/** An objective's expression as it stands in a config. */
export type ConfigExpression = {
  version: 1 | 2
  nodes: Record<string, unknown>[]
  output: number
  value?: number
  measures?: Record<string, number>
}

/**
 * As it goes under `objective` in a config, of TypeScript or JSON: `defineConfig({ objective:
 * objectiveToConfig(mine) })`.
 */
export function objectiveToConfig(objective: Objective): {
  name: string
  normalization: Normalization
  expression: ConfigExpression
} {
  const { name, normalization, nodes, measures, ...rest } = objectiveToJson(objective)
  const expression = {
    ...rest,
    nodes: nodes.map((node) => ({ ...node })),
    ...(measures ? { measures: { ...measures } } : {}),
  }
  return { name, normalization, expression }
}
