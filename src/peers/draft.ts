/** A config in the making, and the rules by which peers' settings go into it. */
import type { Source } from "./source.ts"

export interface Note {
  /** The peer's key. */
  readonly key: string
  readonly value: unknown
  /** Why it did not carry over, or what changed on the way. */
  readonly text: string
}

export interface Draft {
  /** Our config so far, nested. */
  readonly config: Record<string, unknown>
  readonly notes: Note[]
  perDevice: number
  accumulation: number
  warmupSteps: number | undefined
  lora: Record<string, unknown>
  useLora: boolean
  objective: Record<string, unknown>
}

/** Puts one setting in the draft; the text it returns is noted as what did not carry over. */
export type Rule = (value: unknown, draft: Draft, key: string) => string | undefined
export type Rules = Readonly<Record<string, Rule>>

export interface Peer {
  readonly name: string
  /** Whether a config is this peer's, by keys that only it has and by the program's name. */
  readonly owns: (keys: ReadonlySet<string>, names: readonly string[]) => boolean
  /**
   * Why a config is none of supervised training: another command, another objective, another
   * program's rewards.
   */
  readonly refuses?: (source: Source) => string | undefined
  /** Its settings in the keys that the rules have: nested ones dotted, new names as old ones. */
  readonly prepare?: (source: Source) => Source
  /** The peer's own defaults where ours differ: an import means the same run. */
  readonly defaults:
    | Readonly<Record<string, unknown>>
    | ((source: Source) => Readonly<Record<string, unknown>>)
  readonly rules: Rules
  /** What depends on several of its keys. */
  readonly complete?: (draft: Draft, keys: ReadonlySet<string>) => void
}

/** Sets a dotted key of the config. */
export function put(draft: Draft, path: string, value: unknown): void {
  const keys = path.split(".")
  let at = draft.config
  for (const key of keys.slice(0, -1)) {
    at[key] ??= {}
    at = at[key] as Record<string, unknown>
  }
  at[keys.at(-1)!] = value
}

export const to =
  (path: string): Rule =>
  (value, draft) => {
    if (value !== null && value !== undefined) put(draft, path, value)
  }

export const toLora =
  (key: string): Rule =>
  (value, draft) => {
    if (value !== null && value !== undefined) draft.lora[key] = value
  }

/** Of no consequence for the result: left out without a word. */
export const nothing: Rule = () => {}

/** Noted when set to something else than off. */
export const missing =
  (text: string): Rule =>
  (value) => {
    const off = value === false || value === null || value === 0 || value === "" || value === "none"
    return off ? undefined : text
  }

/** Sets the objective by name when the flag is on; two flags at once are noted. */
export const objectiveFlag =
  (name: string): Rule =>
  (value, draft) => {
    if (value !== true) return undefined
    const before = draft.objective.name
    if (before !== undefined && before !== "sft" && before !== name) {
      return `objective ${before} is set already; a run has one objective`
    }
    draft.objective.name = name
    return undefined
  }

export const objectiveParameter =
  (name: string, parameter: string): Rule =>
  (value, draft) => {
    // Peers carry the parameter's default whether the loss is on or not.
    if (typeof value === "number") draft.objective[`${name} ${parameter}`] = value
  }

/** TRL names them with underscores. */
const PAIR_LOSSES = ["sigmoid", "ipo", "hinge", "robust", "apo_zero", "apo_down", "nca_pair"]

/** The loss of `dpo`, by TRL's name. */
export function pairLoss(value: unknown, draft: Draft): string | undefined {
  const loss = [value].flat()
  if (loss.length !== 1 || !PAIR_LOSSES.includes(String(loss[0]))) {
    return `not a loss of dpo known here (${PAIR_LOSSES.join(", ")}); the objective is left as it is`
  }
  const name = String(loss[0]).replace("_pair", "").replace("_", "-")
  if (name !== "sigmoid") draft.objective["dpo loss"] = name
  return undefined
}

/** A hub id or a path as a training source; lists and comma-separated names too. */
export const toSources =
  (set: "train" | "eval"): Rule =>
  (value, draft) => {
    const names = (Array.isArray(value) ? value : String(value ?? "").split(","))
      .map((name) => String(name).trim())
      .filter((name) => name !== "")
    if (names.length === 0) return
    const before = ((draft.config.data as Record<string, unknown>)?.[set] ?? []) as unknown[]
    put(draft, `data.${set}`, [...before, ...names.map((path) => ({ path }))])
  }

/** Sets a key of every training source. */
export const toSourceField =
  (set: "train" | "eval", field: string): Rule =>
  (value, draft) => {
    const sources = (draft.config.data as Record<string, unknown> | undefined)?.[set]
    if (!Array.isArray(sources) || value === null || value === undefined) return
    for (const source of sources as Record<string, unknown>[]) source[field] = value
  }

export const useLora =
  (yes: (value: unknown) => boolean): Rule =>
  (value, draft) => {
    draft.useLora = yes(value)
  }

/** A training set of the config. */
export interface DataSource {
  readonly path: string
  readonly name?: string
  readonly split?: string
  readonly max_rows?: number
}

export function putSources(
  draft: Draft,
  set: "train" | "eval",
  sources: readonly DataSource[],
): void {
  const before = ((draft.config.data as Record<string, unknown>)?.[set] ?? []) as unknown[]
  if (sources.length > 0) put(draft, `data.${set}`, [...before, ...sources])
}

/** Names a column of the rows, where its name is not the usual one. */
export function putColumn(draft: Draft, column: string, name: unknown, usual: string): undefined {
  if (typeof name === "string" && name !== usual) put(draft, `data.columns.${column}`, name)
}

/**
 * Losses of pairs and labels: our name for theirs. The config's own check says which can be
 * trained.
 */
export const PREFERENCE: Readonly<Record<string, string>> = {
  dpo: "dpo",
  kto: "kto",
  orpo: "orpo",
  cpo: "cpo",
  simpo: "simpo",
  rm: "reward",
  reward: "reward",
}

/** Objectives that sample, with rewards that are code of the program they were written for. */
export const ONLINE =
  /^(?:grpo|rloo|ppo|reinforce|reinforce\+\+|dapo|gspo|online_dpo|gkd|nash|xpo|async_grpo)/i

export const onlineReason = (name: string): string =>
  `"${name}" samples and rewards while it trains, and its rewards are code or services of that ` +
  "program: write the rollout by hand, or sample and grade first (dftune generate, dftune grade --keep correct)"
