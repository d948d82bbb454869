import { InputError } from "../../errors.ts"
import { describeValue, type JsonObject } from "../../formats/json.ts"

/**
 * Keys by which data sets say whether a message is trained: `weight` (OpenAI, Mistral, axolotl),
 * `train` and `training` (axolotl), `loss` and `loss_scale` (ms-swift), `loss_weight`
 * (LLaMA-Factory), `trainable` (verl).
 */
export const TRAIN_KEYS = [
  "weight",
  "train",
  "training",
  "trainable",
  "loss",
  "loss_scale",
  "loss_weight",
] as const

/** Keys that say the answer is a bad one (KTO rows, graded samples). */
const VERDICT_KEYS = ["label", "kto_tag", "correct"] as const

/** Whether a row says of its answer that it is a good or a bad one. */
export const hasVerdict = (row: JsonObject): boolean =>
  VERDICT_KEYS.some((key) => row[key] !== undefined && row[key] !== null)

const isFalse = (value: unknown) =>
  value === false || (typeof value === "string" && /^\s*(false|no)\s*$/i.test(value))
const isZero = (value: unknown) =>
  value === 0 || (typeof value === "string" && /^\s*-?0+(\.0*)?\s*$/.test(value))
const isTrue = (value: unknown) =>
  value === true || (typeof value === "string" && /^\s*(true|yes)\s*$/i.test(value))
const isOne = (value: unknown) =>
  value === 1 || (typeof value === "string" && /^\s*1(\.0*)?\s*$/.test(value))

/**
 * Whether a message says that it is not to be trained.
 *
 * @throws InputError for a weight between, which a token's mask cannot say
 */
export function isContextOnly(message: JsonObject, at: string, where: string): boolean {
  let context = false
  for (const key of TRAIN_KEYS) {
    const value = message[key]
    if (value === undefined || value === null) continue
    if (isFalse(value) || isZero(value)) context = true
    else if (!isTrue(value) && !isOne(value)) {
      throw new InputError(
        `${where}: expected "${at}.${key}" to be 0 or 1, true or false, got ${describeValue(value)}; ` +
          "a message is trained or it is not (a whole row can have a weight: data.columns.row_weight)",
      )
    }
  }
  return context
}

/** The key that excludes a row from training, and how it says so; undefined where no key does. */
export function refusalOf(row: JsonObject, { isAnswer }: { readonly isAnswer: boolean }) {
  const named = (key: string) => ({ key, why: `${key}: ${String(row[key])}` })
  const untrained = TRAIN_KEYS.find((key) => isFalse(row[key]) || isZero(row[key]))
  if (untrained !== undefined) return named(untrained)
  // beside a text alone 0 is the name of a class; beside an answer it is KTO's "bad"
  const bad = VERDICT_KEYS.find((key) => isFalse(row[key]) || (isAnswer && isZero(row[key])))
  return bad === undefined ? undefined : named(bad)
}

/** Where a reward may stand. */
const REWARD_KEYS = ["reward", "score"] as const

/**
 * What a row says of how good its answer is: a label (true or false, 1 or 0), or a reward (a
 * number; a label counts as 1 or 0).
 *
 * @throws InputError where it says nothing, or something else
 */
export function verdictOf(row: JsonObject, purpose: "labels" | "rewards", where: string) {
  const keys = purpose === "rewards" ? [...REWARD_KEYS, ...VERDICT_KEYS] : VERDICT_KEYS
  const key = keys.find((name) => row[name] !== undefined && row[name] !== null)
  if (key === undefined) {
    throw new InputError(
      `${where}: expected ${keys.map((name) => `"${name}"`).join(" or ")} beside the answer, which says how good it is, got nothing; dftune grade writes "correct"`,
    )
  }
  const value = row[key]
  if (isTrue(value) || isOne(value)) return { value: 1, used: [key] }
  if (isFalse(value) || isZero(value)) return { value: 0, used: [key] }
  const isReward = (REWARD_KEYS as readonly string[]).includes(key)
  if (isReward && typeof value === "number" && Number.isFinite(value)) return { value, used: [key] }
  throw new InputError(
    `${where}: expected "${key}" to be ${isReward ? "a number" : "true or false, 1 or 0"}, got ${describeValue(value)}`,
  )
}

/** By how much a pair says that its chosen answer is better; 0 where it says nothing. */
export function marginOf(row: JsonObject, where: string) {
  const value = row.margin ?? 0
  if (typeof value === "number" && Number.isFinite(value)) return { value, used: ["margin"] }
  throw new InputError(`${where}: expected "margin" to be a number, got ${describeValue(value)}`)
}

/**
 * Keys that say "train this", as every row does: nothing is left out when they are not looked at.
 */
export const agreesToTraining = (key: string, value: unknown): boolean =>
  ((TRAIN_KEYS as readonly string[]).includes(key) ||
    (VERDICT_KEYS as readonly string[]).includes(key)) &&
  (isTrue(value) || isOne(value))
