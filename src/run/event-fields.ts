/** What a line of events.jsonl must be before anything is drawn or counted from it. */
import { isObject } from "../formats/json.ts"
import type { RunEvent } from "./events.ts"

type Kind = (value: unknown) => boolean

const text: Kind = (value) => typeof value === "string"
/** JSON has no NaN: null says that there is no number. */
const number: Kind = (value) => value === null || typeof value === "number"
const optional =
  (kind: Kind): Kind =>
  (value) =>
    value === undefined || kind(value)
const listOf =
  (kind: Kind): Kind =>
  (value) =>
    Array.isArray(value) && value.every(kind)
const spreads: Kind = (value) =>
  isObject(value) &&
  Object.values(value).every((one) => isObject(one) && Object.values(one).every(number))
const measure: Kind = (value) =>
  number(value) || (isObject(value) && Object.values(value).every(number))
const counts: Kind = (value) =>
  isObject(value) && typeof value.total === "number" && typeof value.trained === "number"
const reason: Kind = (value) => ["done", "interrupted", "failed"].includes(value as string)

/** A histogram has 10 and 4: a page draws each of them at every step. */
const MOST_BINS = 64
const few: Kind = (value) =>
  Array.isArray(value) && value.length <= MOST_BINS && value.every(number)

type Fields = Readonly<Record<string, Kind>>

/** Of each type the fields that readers rely on; others may be there. */
const FIELDS: { readonly [Type in RunEvent["type"]]: Fields } = {
  "run.start": {
    run_id: text,
    engine: text,
    device: text,
    parameters: counts,
    normalization: text,
    steps: number,
    objective: text,
    resumed_from: optional(text),
  },
  step: {
    loss: number,
    nll: number,
    mean_p: optional(number),
    mean_weight: optional(number),
    effective_tokens: optional(number),
    entropy: optional(number),
    token_accuracy: optional(number),
    eos_p: optional(number),
    grad_norm: number,
    learning_rate: number,
    epoch: number,
    tokens: number,
    supervised_tokens: number,
    tokens_per_second: number,
    memory_bytes: number,
  },
  replay: { samples: number, tokens: number, reward: number },
  rollout: {
    rollout: number,
    prompts: number,
    sequences: number,
    tokens: number,
    reward: number,
    reward_std: number,
    rewards: spreads,
    zero_variance_groups: number,
    truncated: number,
    entropy: number,
    seconds: number,
    tokens_per_second: number,
  },
  histogram: { name: text, bins: few, small_bins: few },
  eval: {
    name: text,
    nll: optional(number),
    loss: optional(number),
    mean_p: optional(number),
    score: optional(number),
    n: optional(number),
    ci95: optional(few),
  },
  sample: { prompt: text, completion: text, tokens: listOf(text), probabilities: listOf(number) },
  checkpoint: { path: text },
  warning: { code: text, message: text, hint: text },
  "run.end": {
    reason,
    message: optional(text),
    output: optional(text),
    time_shares: optional(measure),
  },
  reset: {},
}

/** What else is told of steps and evaluations are numbers, by name or in groups. */
const MEASURED: ReadonlySet<string> = new Set(["step", "eval", "rollout", "replay"])
const BASE: ReadonlySet<string> = new Set(["type", "time", "step"])

interface Known {
  readonly fields: ReadonlyMap<string, Kind>
  /** Of those that may not be left out: looked at whether they are there or not. */
  readonly required: readonly (readonly [key: string, kind: Kind])[]
  readonly isMeasured: boolean
  /** Whether a number is right wherever it stands. */
  readonly takesNumbers: boolean
}

const KNOWN: ReadonlyMap<string, Known> = new Map(
  Object.entries(FIELDS).map(([type, kinds]) => {
    const fields = new Map(Object.entries(kinds))
    const required = [...fields].filter(([, kind]) => !kind(undefined))
    const isMeasured = MEASURED.has(type)
    const takesNumbers = isMeasured && [...fields.values()].every((kind) => kind(0))
    return [type, { fields, required, isMeasured, takesNumbers }]
  }),
)

/**
 * Whether a value is an event whose fields are of their kinds; one of a type to come is let pass.
 */
export function isRunEvent(value: unknown): value is RunEvent {
  if (!isObject(value) || typeof value.type !== "string") return false
  if (!Number.isSafeInteger(value.step) || Number(value.step) < 0) return false
  if (value.time !== undefined && typeof value.time !== "string") return false
  const known = KNOWN.get(value.type)
  if (known === undefined) return true
  const { fields, required, isMeasured, takesNumbers } = known
  // plain loops, and nothing looked up for a number: every line of a long run comes through here
  for (const [key, kind] of required) if (!kind(value[key])) return false
  for (const key in value) {
    const one = value[key]
    if (takesNumbers && typeof one === "number") continue
    if (BASE.has(key)) continue
    const kind = fields.get(key) ?? (isMeasured ? measure : undefined)
    if (kind !== undefined && !kind(one)) return false
  }
  return true
}
