/** From a config's `objective` to an Objective: every parameter checked, nothing ignored. */
import { didYouMean } from "../closest-name.ts"
import { InputError } from "../errors.ts"
import { type Definition, MODIFIERS, type Parameter, type Ramp } from "./definition.ts"
import { definitionOf, FAMILY } from "./family.ts"
import { modified } from "./modifiers.ts"
import {
  NORMALIZATIONS,
  type Normalization,
  type Objective,
  objectiveFromJson,
  tokenObjective,
} from "./objective.ts"

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

/** Throws InputError naming the key, with the nearest name where one is near. */
export function objectiveFromConfig(settings: string | ObjectiveSettings): Objective {
  if (typeof settings === "string") return objectiveFromConfig({ name: settings })
  if (settings.expression !== undefined) return ownObjective(settings)
  const { name, normalization, weight_floor, weight_ceiling, ramp, keep_special, ...own } = settings
  const definition = definitionOf(name)
  if (definition === undefined) {
    const names = Object.keys(FAMILY)
    const hint = didYouMean(name, names)
    throw new InputError(
      `objective: unknown name "${name}"${hint || ";"} known: ${names.join(", ")}`,
    )
  }
  const values = parameterValues(definition, own)
  refuseModifiers(definition, settings)
  if (definition.signed && normalization === "weights") {
    throw new InputError(
      `objective.normalization: weights of ${name} take both signs, so their sum is no divisor; take tokens or sequences`,
    )
  }
  const usedRamp = ramp ?? definition.ramp
  const modifiers = {
    weightFloor: bound("weight_floor", weight_floor),
    weightCeiling: bound("weight_ceiling", weight_ceiling),
    ramp: usedRamp,
    keepSpecial: keep_special,
  }
  if (weight_floor !== undefined && weight_ceiling !== undefined && weight_floor > weight_ceiling) {
    throw new InputError(
      `objective.weight_floor: ${weight_floor} is above weight_ceiling ${weight_ceiling}`,
    )
  }
  const given = {
    weight_floor,
    weight_ceiling,
    ramp: usedRamp,
    keep_special: keep_special || undefined,
  }
  const used = Object.entries({ ...values, ...given }).filter(([, value]) => {
    return value !== undefined && !Number.isNaN(value)
  })
  return tokenObjective(
    name,
    (inputs) => modified(definition.form(values as never, inputs), modifiers),
    { normalization: checkedNormalization(normalization), parameters: Object.fromEntries(used) },
  )
}

function ownObjective(settings: ObjectiveSettings): Objective {
  const { name, normalization = "tokens", expression, keep_special, ...rest } = settings
  const given = Object.entries({ ...rest, keep_special: keep_special || undefined })
  const extra = given.find(([, value]) => value !== undefined)
  if (extra !== undefined) {
    throw new InputError(
      `objective.${extra[0]}: an expression of your own takes no parameters or modifiers; write it into the expression`,
    )
  }
  return objectiveFromJson(
    { ...(expression as Record<string, unknown>), name, normalization },
    "objective.expression",
  )
}

function parameterValues(
  { name, parameters }: Definition,
  own: Readonly<Record<string, unknown>>,
): Record<string, number | string> {
  for (const key of Object.keys(own)) {
    if (Object.hasOwn(parameters, key) || own[key] === undefined) continue
    const names = [...Object.keys(parameters), ...MODIFIERS, "normalization"]
    const takes = Object.keys(parameters).join(", ") || "no parameters"
    const hint = didYouMean(key, names)
    throw new InputError(`objective.${key}: ${name} takes ${takes}${hint}`)
  }
  return Object.fromEntries(
    Object.entries(parameters).map(([key, parameter]) => {
      return [key, checkedValue(`objective.${key}`, parameter, own[key])]
    }),
  )
}

function checkedValue(where: string, parameter: Parameter, value: unknown): number | string {
  if (value === undefined) return parameter.default
  const came = (JSON.stringify(value) ?? String(value)).slice(0, 80)
  if (parameter.kind === "choice") {
    if (typeof value === "string" && parameter.choices.includes(value)) return value
    throw new InputError(
      `${where}: expected one of ${parameter.choices.join(", ")} (${parameter.meaning}), got ${came}`,
    )
  }
  const { min, max, meaning } = parameter
  if (typeof value === "number" && value >= min && value <= max) return value
  throw new InputError(
    `${where}: expected a number from ${min} to ${max} (${meaning}), got ${came}`,
  )
}

function bound(key: string, value: unknown): number | undefined {
  if (value === undefined) return undefined
  if (typeof value === "number" && value >= 0 && Number.isFinite(value)) return value
  throw new InputError(`objective.${key}: expected a number of at least 0, got ${String(value)}`)
}

function refuseModifiers(definition: Definition, settings: ObjectiveSettings): void {
  for (const modifier of MODIFIERS) {
    const value = settings[modifier]
    if (value === undefined || value === false || definition.modifiers.includes(modifier)) continue
    throw new InputError(
      `objective.${modifier}: does not fit ${definition.name}: ${definition.refusal}; take it out`,
    )
  }
}

function checkedNormalization(value: string | undefined): Normalization {
  if (value === undefined) return "tokens"
  if ((NORMALIZATIONS as readonly string[]).includes(value)) return value as Normalization
  const hint = didYouMean(value, NORMALIZATIONS)
  throw new InputError(
    `objective.normalization: expected one of ${NORMALIZATIONS.join(", ")}, got "${value}"${hint}`,
  )
}
