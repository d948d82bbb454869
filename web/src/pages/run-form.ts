/** What the form of a new run says, as a config. */
import { formulaObjective } from "../../../src/objectives/formula.ts"
import { objectiveFromConfig } from "../../../src/objectives/from-config.ts"
import type { Objective } from "../../../src/objectives/objective.ts"
import { objectiveToConfig } from "../../../src/objectives/objective-json.ts"

export interface Form {
  readonly name: string
  readonly model: string
  readonly train: string
  readonly eval: string
  /** A name of the family, or `formula`. */
  readonly objective: string
  readonly formula: string
  readonly learningRate: string
  readonly batchSize: string
  readonly steps: string
  readonly rank: string
  /** Further keys, as JSON. */
  readonly more: string
}

export const EMPTY_FORM: Form = {
  ...{ name: "", model: "", train: "", eval: "", objective: "dft", formula: "sg(p) * nll" },
  ...{ learningRate: "", batchSize: "16", steps: "", rank: "", more: "" },
}

/** The objective of a form: by name, or parsed from its formula by the project's own grammar. */
export function objectiveOf({
  objective,
  formula,
}: Pick<Form, "objective" | "formula">): Objective {
  if (objective === "formula") return formulaObjective("formula", formula)
  return objectiveFromConfig({ name: objective })
}

/** The config, or the first thing that is wrong with it. */
export function configOf(form: Form): {
  readonly config: Readonly<Record<string, unknown>>
  readonly problem: string | undefined
} {
  try {
    return { config: wholeConfig(form), problem: undefined }
  } catch (error) {
    return { config: {}, problem: (error as Error).message }
  }
}

function wholeConfig(form: Form): Record<string, unknown> {
  const { model, train, objective } = form
  const own = objectiveOf(form)
  const numbers = {
    learning_rate: positive("learning rate", form.learningRate),
    batch_size: whole("rows a step", form.batchSize),
    max_steps: whole("steps", form.steps),
  }
  const rank = whole("LoRA rank", form.rank)
  const config = {
    model,
    data: {
      train: [{ path: train }],
      ...(form.eval === "" ? {} : { eval: [{ path: form.eval }] }),
    },
    objective: objective === "formula" ? objectiveToConfig(own) : objective,
    ...Object.fromEntries(Object.entries(numbers).filter(([, value]) => value !== undefined)),
    ...(rank === undefined ? {} : { adapter: { type: "lora", r: rank, lora_alpha: 2 * rank } }),
  }
  return merged(config, moreSettings(form.more))
}

function positive(name: string, text: string): number | undefined {
  if (text.trim() === "") return undefined
  const value = Number(text)
  if (value > 0 && Number.isFinite(value)) return value
  throw new Error(`${name}: expected a number above 0, got "${text}"`)
}

function whole(name: string, text: string): number | undefined {
  const value = positive(name, text)
  if (value === undefined || Number.isInteger(value)) return value
  throw new Error(`${name}: expected a whole number, got "${text}"`)
}

type Json = Readonly<Record<string, unknown>>

function moreSettings(text: string): Json {
  if (text.trim() === "") return {}
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new Error(`other settings: ${(error as Error).message}`)
  }
  if (isMapping(value)) return value
  throw new Error('other settings: expected JSON like { "seed": 1 }')
}

const isMapping = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** What was written by hand stands over what the form says, key by key. */
function merged(base: Json, over: Json): Record<string, unknown> {
  const found: Record<string, unknown> = { ...base }
  for (const [key, value] of Object.entries(over)) {
    const before = Object.hasOwn(base, key) ? base[key] : undefined
    found[key] = isMapping(before) && isMapping(value) ? merged(before, value) : value
  }
  return found
}
