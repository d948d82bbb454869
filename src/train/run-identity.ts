import { type Config, parseConfig } from "../config/index.ts"
import { InputError } from "../errors.ts"
import { dottedValues, isObject, type JsonObject } from "../formats/json.ts"
import { weightsHash } from "../models/files/weights-hash.ts"
import type { Precision } from "../runtime/index.ts"
import { withFormerDefaults } from "./kept-settings.ts"
import type { RunPlan } from "./plan.ts"

/** What makes a run this run, by name and value: a checkpoint of another cannot be continued. */
export interface Identity {
  /** The config without what changes no number, as it was resolved. */
  readonly settings: JsonObject
  readonly micro_batch_tokens: number
  /** Of the base model's weights. */
  readonly weights: string
  /** The base model as the config names it, for people. */
  readonly model: string
  /** What belongs together was computed together (`SplitOptions`). */
  readonly together?: true
  /** Of products; a checkpoint that does not say was made in float32. */
  readonly dtype?: Precision
  /** Of the prepared rows (`dataKey` of the plan). */
  readonly rows: string
  /** Of the teacher's weights, where there is one. */
  readonly teacher?: string
  /** Of the weights of another model as reference. */
  readonly reference?: string
  /** By file: SHA-256 of the reward modules, where there are any. */
  readonly code?: Readonly<Record<string, string>>
}

/** Whether a value read from a file is one: what is compared is there. */
export function isIdentity(value: unknown): value is Identity {
  if (!isObject(value) || !isObject(value.settings)) return false
  const { micro_batch_tokens: tokens, weights, model, rows, code = {} } = value
  const texts = [weights, model, rows].every((text) => typeof text === "string")
  return texts && typeof tokens === "number" && isObject(code)
}

/** Sources that a config may have objectives for; a changed file may name any. */
const MAX_SOURCES = 10_000

/**
 * Settings that a resumed run may change: they decide what is written, shown or used of the
 * machine, or are held by what they lead to (the model's weights, the rows, the micro-batches).
 * Every other setting, and every setting to come, must stay.
 */
const FREE = [
  ...(["model", "model_revision", "micro_batch_tokens", "output_dir", "resume"] as const),
  ...(["keep_rows", "overwrite_output_dir"] as const),
  ...(["save_steps", "save_total_limit", "eval_steps", "generate_samples", "report_to"] as const),
  "forgetting",
  ...(["on_nonfinite", "recompute", "gradient_checkpointing", "device_memory", "engine"] as const),
] as const satisfies readonly (keyof Config)[]

/** Of `data`, what decides more than the rows. */
const HELD_OF_DATA = ["packing"] as const satisfies readonly (keyof Config["data"])[]

export function heldSettings(config: Config | JsonObject): JsonObject {
  const free: ReadonlySet<string> = new Set(FREE)
  const held = Object.fromEntries(Object.entries(config).filter(([key]) => !free.has(key)))
  const data: unknown = config.data
  if (!isObject(data)) return held
  const kept = HELD_OF_DATA.filter((key) => key in data).map((key) => [key, data[key]])
  const own = objectivesOfSources(data.train)
  return { ...held, data: { ...Object.fromEntries(kept), ...(own ? { objectives: own } : {}) } }
}

/** By source; undefined where all have the run's. */
function objectivesOfSources(train: unknown): unknown {
  if (!Array.isArray(train)) return undefined
  const own = train.flatMap((source: unknown, place) =>
    isObject(source) && source.objective ? [[`${place}`, source.objective] as const] : [],
  )
  return own.length > 0 ? Object.fromEntries(own) : undefined
}

export function identityOf({
  config,
  engine,
  split,
  modelFolder,
  dataKey,
  rollout,
  measuredBy = rollout?.measuredBy,
}: RunPlan): Identity {
  const code = rollout?.code ?? {}
  return {
    ...(Object.keys(code).length > 0 ? { code } : {}),
    ...(measuredBy ? { [config.reference ? "reference" : "teacher"]: measuredBy.hash } : {}),
    settings: heldSettings(config),
    micro_batch_tokens: split.capacity,
    ...(split.together ? { together: true as const } : {}),
    weights: weightsHash(modelFolder),
    model: config.model,
    dtype: engine.dtype,
    rows: dataKey,
  }
}

/** Settings as JSON, by dotted key. */
function flat(settings: JsonObject): Map<string, string> {
  const values = dottedValues(settings).filter(([, value]) => !isObject(value))
  return new Map(values.map(([key, value]) => [key, JSON.stringify(value ?? null)]))
}

/** Settings that came later than `settings` was written take their default, or what it was then. */
function withDefaults(settings: JsonObject): JsonObject {
  try {
    const { objectives, ...own } = isObject(settings.data) ? settings.data : {}
    const places = isObject(objectives) ? objectives : {}
    const count = Math.max(0, ...Object.keys(places).map(Number)) + 1
    if (count > MAX_SOURCES) return settings
    const train = Array.from({ length: count }, (_, place) => {
      const objective = places[`${place}`]
      return objective === undefined ? "rows" : { path: "rows", objective }
    })
    const data = { ...own, train }
    const objective = withFormerDefaults(settings.objective)
    return heldSettings(parseConfig({ ...settings, objective, model: "model", data }))
  } catch (error) {
    if (!(error instanceof InputError)) throw error
    return settings // it has a setting that is gone: it is compared as it stands
  }
}

/** The settings that differ, as "batch_size 8 there, 256 here". */
export function settingDifferences(there: JsonObject, here: JsonObject): string[] {
  const [a, b] = [flat(withDefaults(there)), flat(here)]
  const shown = (value: string | undefined) => (value === undefined ? "not set" : value)
  return [...new Set([...a.keys(), ...b.keys()])]
    .filter((key) => (a.get(key) ?? "null") !== (b.get(key) ?? "null"))
    .map((key) => `${key} ${shown(a.get(key))} there, ${shown(b.get(key))} here`)
}

/** Which rows, and why, is said where their old form is still in the cache (rows-to-resume.ts). */
export const OTHER_ROWS =
  "the rows of data.train, or what decides how they are tokenised, are others"

/** All that differs between the run of a checkpoint and this one. */
export function differences(there: Identity, here: Identity): string[] {
  const found = settingDifferences(there.settings, here.settings)
  if (there.micro_batch_tokens !== here.micro_batch_tokens) {
    found.push(
      `micro_batch_tokens ${there.micro_batch_tokens} there, ${here.micro_batch_tokens} here`,
    )
  }
  const [dtypeThere, dtypeHere] = [there.dtype ?? "fp32", here.dtype ?? "fp32"]
  if (dtypeThere !== dtypeHere) found.push(`engine.dtype ${dtypeThere} there, ${dtypeHere} here`)
  if (there.weights !== here.weights) {
    const names = there.model === here.model ? `${here.model} has` : `${here.model} here has`
    found.push(`the base model is another: ${names} not the weights of ${there.model} there`)
  }
  if (there.rows !== here.rows) found.push(OTHER_ROWS)
  if (there.teacher !== here.teacher) found.push("the teacher's weights are others")
  if (there.reference !== here.reference) found.push("the reference's weights are others")
  for (const [file, hash] of Object.entries(here.code ?? {})) {
    const then = there.code?.[file]
    if (then !== undefined && then !== hash)
      found.push(`${file} is another than then: its function rewards otherwise`)
  }
  return found
}
