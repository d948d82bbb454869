/** What a reward is: samples in, a number each out. */
import type { JsonObject } from "../formats/json.ts"
import type { NumberParameter } from "../objectives/definition.ts"

/** One sample, as a reward sees it: the fields that a function of one's own gets, and its place. */
export interface RewardSample {
  /** What was asked: a text, or messages. */
  readonly prompt: unknown
  readonly completion: string
  /** The whole chat, where there were several turns; `completion` is the last answer. */
  readonly messages?: readonly unknown[]
  readonly token_ids: readonly number[]
  readonly finish_reason: string
  /** All fields of the prompt's row. */
  readonly row: JsonObject
  /** file:line of the row, for messages. */
  readonly where: string
}

/** null: cannot be said; such a sample is trained neither up nor down. */
export type Score = number | null

/** Beyond it, times a weight and squared, no deviation could be told any more. */
export const LARGEST_REWARD = 1e30

/** What a function gave in place of a score, in words: its own values may not leave its thread. */
export interface Unfit {
  readonly unfit: string
}

export const isUnfit = (value: unknown): value is Unfit =>
  typeof value === "object" && value !== null && "unfit" in value

/** A reward that is open: threads and connections are its own until it is closed. */
export interface Scorer {
  /** What can be known wrong before the first sample is there: a module that does not load. */
  ready?(signal?: AbortSignal): Promise<void>
  /** In the order of the samples. */
  score(samples: readonly RewardSample[], signal?: AbortSignal): Promise<readonly unknown[]>
  close?(): Promise<void>
}

export interface TextParameter {
  readonly kind: "text"
  /** null: none. */
  readonly default: string | null
  readonly meaning: string
}
export interface WordParameter {
  readonly kind: "word"
  readonly default: string
  readonly words: readonly string[]
  readonly meaning: string
}
export type RewardParameter = NumberParameter | TextParameter | WordParameter

export interface RewardContext {
  /** The longest that a sample may be. */
  readonly maxNewTokens: number
  /** The policy's greedy answers to texts, each asked as a question of its own. */
  readonly ask?: AskPolicy
  /** Opens a reward model, where the run can. */
  readonly openModel?: (path: string) => Scorer
}

export type AskPolicy = (
  texts: readonly string[],
  options: { readonly maxNewTokens: number; readonly signal?: AbortSignal | undefined },
) => Promise<readonly string[]>

/** A reward that a config names: what may be said of it. */
export interface RewardDeclaration {
  /** In a line, for people. */
  readonly meaning: string
  readonly parameters: Readonly<Record<string, RewardParameter>>
  /** What is wrong with values that are each of their kind; undefined when nothing is. */
  readonly conflict?: (values: RewardValues) => string | undefined
}

/** The same at work. */
export interface RewardWork {
  /** It asks the policy, which cannot sample meanwhile. */
  readonly asksPolicy?: true
  /** What a prompt's row lacks, to end the sentence "file:line: ..."; undefined when nothing. */
  readonly rowProblem?: (row: JsonObject, values: RewardValues) => string | undefined
  readonly open: (values: RewardValues, context: RewardContext) => Scorer
}

export type RewardValues = Readonly<Record<string, number | string | null>>

/** A scorer of a function of one sample. */
export const eachSample = (score: (sample: RewardSample) => Score): Scorer => ({
  score: async (samples) => samples.map(score),
})
