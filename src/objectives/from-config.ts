/** From a config's `objective` to an Objective: every parameter checked, nothing ignored. */
import { didYouMean } from "../closest-name.ts"
import { assert, InputError } from "../errors.ts"
import {
  type Definition,
  type Form,
  MODIFIERS,
  normalizationsOf,
  type ObjectiveParameter,
  type Ramp,
} from "./definition.ts"
import type { Expression } from "./expression.ts"
import { definitionOf, FAMILY } from "./family.ts"
import { type ImportanceSettings, importanceWeight } from "./importance.ts"
import { modified } from "./modifiers.ts"
import {
  INPUTS,
  NORMALIZATIONS,
  type Normalization,
  type Objective,
  tokenObjective,
} from "./objective.ts"
import { objectiveFromJson } from "./objective-json.ts"
import type { TrainsOn } from "./trains-on.ts"

/** As it stands under `objective` in a resolved config. */
export interface ObjectiveSettings {
  readonly name: string
  readonly normalization?: string | undefined
  readonly weight_floor?: number | undefined
  readonly weight_ceiling?: number | undefined
  readonly ramp?: Ramp | undefined
  readonly keep_special?: boolean | undefined
  /** An expression of one's own (docs/architecture.md, seam 2). */
  readonly expression?: unknown
  /** The objective's own parameters. */
  readonly [parameter: string]: unknown
}

/** One thing wrong with an objective's settings: at which key, and in words. */
export interface ObjectiveProblem {
  readonly path: readonly string[]
  /** Whether the key itself is wrong, or its value. */
  readonly at: "key" | "value"
  readonly message: string
}

/**
 * Everything wrong with the settings, of a name of the family or of one's own expression. The only
 * statement of what may stand under `objective`: a config asks it too, and adds file and line.
 */
export function objectiveProblems(settings: ObjectiveSettings): ObjectiveProblem[] {
  const { name, expression } = settings
  if (expression !== undefined) return ownProblems(settings)
  const names = Object.keys(FAMILY)
  if (typeof name !== "string") {
    const message = `expected the name of an objective, got ${JSON.stringify(name)}; known: ${names.join(", ")}`
    return [{ path: [], at: "value", message }]
  }
  const definition = definitionOf(name)
  if (definition === undefined) {
    const meant = didYouMean(name, names) || ";"
    const message = `unknown objective "${name}"${meant} known: ${names.join(", ")}`
    return [{ path: [], at: "value", message }]
  }
  return [
    ...unknownKeys(definition, settings),
    ...Object.entries(definition.parameters).flatMap(([key, parameter]) =>
      valueProblem(key, parameter, settings[key]),
    ),
    ...modifierProblems(definition, settings),
    ...normalizationProblems(definition, settings),
    ...conflictProblems(definition, settings),
  ]
}

/**
 * `importance` weighs the tokens that another engine sampled, of objectives on rollouts.
 *
 * @throws InputError naming the key, with the nearest name where one is near
 */
export function objectiveFromConfig(
  settings: string | ObjectiveSettings,
  importance: ImportanceSettings = { importance: "none", cap: 0 },
): Objective {
  if (typeof settings === "string") return objectiveFromConfig({ name: settings }, importance)
  const [problem] = objectiveProblems(settings)
  if (problem !== undefined) {
    const { path, message } = problem
    throw new InputError(`${["objective", ...path].join(".")}: ${message}`)
  }
  if (settings.expression !== undefined) return ownObjective(settings)
  const definition = definitionOf(settings.name)!
  const values = parameterValues(definition, settings)
  const { weight_floor, weight_ceiling, keep_special } = settings
  const ramp = settings.ramp ?? definition.ramp
  const modifiers = {
    weightFloor: weight_floor,
    weightCeiling: weight_ceiling,
    ramp,
    keepSpecial: keep_special,
  }
  const given = { weight_floor, weight_ceiling, ramp, keep_special: keep_special || undefined }
  const used = Object.entries({ ...values, ...given }).filter(([, value]) => {
    return value !== undefined && value !== null && !Number.isNaN(value)
  })
  const form = weighted(definition.form(values as never, INPUTS), importanceWeight(importance))
  return tokenObjective(settings.name, () => modified(form, modifiers), {
    normalization: (settings.normalization ?? normalizationsOf(definition)[0]) as Normalization,
    parameters: Object.fromEntries(used),
    value: form.value,
    measures: form.measures,
    trainsOn: definition.trainsOn ?? "targets",
  })
}

/** The rows that an objective of these settings is of; undefined where they are wrong. */
export function trainsOnOf(settings: ObjectiveSettings): TrainsOn | undefined {
  if (objectiveProblems(settings).length > 0) return undefined
  if (settings.expression === undefined) return definitionOf(settings.name)!.trainsOn ?? "targets"
  try {
    return ownObjective(settings).trainsOn
  } catch (error) {
    if (error instanceof InputError) return undefined
    throw error
  }
}

/** What trains, times a detached weight; an anchor is left alone. */
function weighted(form: Form, weight: Expression | undefined): Form {
  if (!weight) return form
  assert("direct" in form, "an importance weight belongs to sampled answers")
  return {
    ...form,
    direct: weight.times(form.direct),
    ...(form.value ? { value: weight.times(form.value) } : {}),
  }
}

/** The settings with the objective's divisor and the defaults of its parameters written out. */
export function withParameterDefaults(settings: ObjectiveSettings): ObjectiveSettings {
  const definition = settings.expression === undefined ? definitionOf(settings.name) : undefined
  if (definition === undefined) return settings
  // a default of NaN is none: it depends on another parameter
  const values = Object.entries(parameterValues(definition, settings)).filter(
    ([, value]) => value !== null && !Number.isNaN(value),
  )
  const [normalization] = normalizationsOf(definition)
  return {
    ...settings,
    normalization: settings.normalization ?? normalization,
    ...Object.fromEntries(values),
  }
}

/** Keys that may stand beside the parameters of any objective. */
const COMMON_KEYS = ["name", "normalization", "expression", ...MODIFIERS]

function unknownKeys(
  { name, parameters, modifiers }: Definition,
  settings: ObjectiveSettings,
): ObjectiveProblem[] {
  const own = Object.keys(parameters)
  const known = [...own, ...modifiers, "normalization"]
  return Object.keys(settings)
    .filter((key) => settings[key] !== undefined)
    .filter((key) => !COMMON_KEYS.includes(key) && !Object.hasOwn(parameters, key))
    .map((key) => {
      // a parameter of one letter is often written out: gamma for g
      const begun = own.filter((name) => key.startsWith(name))
      const meant = didYouMean(key, known) || (begun[0] ? `; did you mean "${begun[0]}"?` : ";")
      const message = `unknown key "${key}"${meant} ${name} takes ${own.join(", ") || "no parameters"}`
      return { path: [key], at: "key", message }
    })
}

function valueProblem(
  key: string,
  parameter: ObjectiveParameter,
  value: unknown,
): ObjectiveProblem[] {
  if (value === undefined) return []
  const came = (JSON.stringify(value) ?? String(value)).slice(0, 80)
  const { meaning } = parameter
  const wrong = (expected: string): ObjectiveProblem[] => [
    { path: [key], at: "value", message: `expected ${expected} (${meaning}), got ${came}` },
  ]
  if (parameter.kind === "choice") {
    const { choices } = parameter
    const fits = typeof value === "string" && choices.includes(value)
    return fits ? [] : wrong(`one of ${choices.join(", ")}`)
  }
  if (parameter.kind === "flag") return typeof value === "boolean" ? [] : wrong("true or false")
  const { min, max } = parameter
  const fits = typeof value === "number" && value >= min && value <= max
  return fits ? [] : wrong(`a number from ${min} to ${max}`)
}

function modifierProblems(definition: Definition, settings: ObjectiveSettings): ObjectiveProblem[] {
  const found: ObjectiveProblem[] = []
  for (const modifier of MODIFIERS) {
    const value = settings[modifier]
    if (value === undefined || value === false || definition.modifiers.includes(modifier)) continue
    const message = `does not fit ${definition.name}: ${definition.refusal}; take it out`
    found.push({ path: [modifier], at: "value", message })
  }
  const { weight_floor: floor, weight_ceiling: ceiling, ramp } = settings
  for (const [key, value] of Object.entries({ weight_floor: floor, weight_ceiling: ceiling })) {
    if (value === undefined || (value >= 0 && Number.isFinite(value))) continue
    const message = `expected a number of at least 0, got ${String(value)}`
    found.push({ path: [key], at: "value", message })
  }
  if (floor !== undefined && ceiling !== undefined && floor > ceiling) {
    const message = `${floor} is above weight_ceiling ${ceiling}`
    found.push({ path: ["weight_floor"], at: "value", message })
  }
  if (ramp !== undefined && ramp.start > ramp.end) {
    const message = `start ${ramp.start} is after end ${ramp.end}`
    found.push({ path: ["ramp"], at: "value", message })
  }
  return found
}

function normalizationProblems(
  definition: Definition,
  { normalization: value }: ObjectiveSettings,
): ObjectiveProblem[] {
  if (value === undefined) return []
  const path = ["normalization"]
  const allowed = normalizationsOf(definition)
  if ((allowed as readonly string[]).includes(value)) return []
  if (!(NORMALIZATIONS as readonly string[]).includes(value)) {
    const meant = didYouMean(String(value), allowed)
    const message = `expected one of ${allowed.join(", ")}, got "${value}"${meant}`
    return [{ path, at: "value", message }]
  }
  const { name, signed } = definition
  const reason =
    signed && ["weights", "paper"].includes(value)
      ? `weights of ${name} take both signs, so their sum is no divisor`
      : `${value} does not fit ${name}`
  const message = `${reason}; take ${allowed.join(" or ")}`
  return [{ path, at: "value", message }]
}

/** What is wrong with values that each are right. */
function conflictProblems(definition: Definition, settings: ObjectiveSettings): ObjectiveProblem[] {
  const found = definition.conflict?.(parameterValues(definition, settings) as never)
  return found === undefined ? [] : [{ path: [found.key], at: "value", message: found.message }]
}

function ownProblems(settings: ObjectiveSettings): ObjectiveProblem[] {
  const { name: _, normalization: __, expression: ___, keep_special, ...rest } = settings
  const given = Object.entries({ ...rest, keep_special: keep_special || undefined })
  const message =
    "an expression of your own takes no parameters or modifiers; write it into the expression"
  return given
    .filter(([, value]) => value !== undefined)
    .map(([key]) => ({ path: [key], at: "key", message }))
}

function ownObjective({ name, normalization = "tokens", expression }: ObjectiveSettings) {
  return objectiveFromJson(
    { ...(expression as Record<string, unknown>), name, normalization },
    "objective.expression",
  )
}

function parameterValues(
  { parameters }: Definition,
  settings: ObjectiveSettings,
): Record<string, number | string | boolean | null> {
  return Object.fromEntries(
    Object.entries(parameters).map(([key, parameter]) => {
      return [key, (settings[key] ?? parameter.default) as number | string | boolean | null]
    }),
  )
}
