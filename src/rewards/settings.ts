/** An entry of `rollout.rewards`: what may stand in it. */
import { didYouMean } from "../closest-name.ts"
import { declaredReward, REWARDS } from "./declared.ts"
import type { RewardDeclaration, RewardValues } from "./reward.ts"

/** Exactly one of name, module, model and url. */
export interface RewardSettings {
  readonly name?: string | undefined
  readonly module?: string | undefined
  /** A reward model: a folder, a run or a hub id. */
  readonly model?: string | undefined
  readonly url?: string | undefined
  readonly weight: number
  readonly export?: string | undefined
  /** Seconds. */
  readonly timeout?: number | undefined
  /** The parameters of a reward with a name. */
  readonly [parameter: string]: unknown
}

export interface RewardProblem {
  readonly key: string | undefined
  readonly message: string
}

const KINDS = ["name", "module", "model", "url"] as const
type Kind = (typeof KINDS)[number]

/** Keys that may stand beside each kind. */
const BESIDE: { readonly [Name in Kind]: readonly string[] } = {
  name: ["weight"],
  module: ["weight", "export", "timeout"],
  model: ["weight"],
  url: ["weight", "timeout"],
}

/** Everything wrong with an entry. */
export function rewardProblems(settings: RewardSettings): RewardProblem[] {
  const given = KINDS.filter((kind) => settings[kind] !== undefined)
  const [kind, ...others] = given
  if (kind === undefined || others.length > 0) {
    const came = given.length === 0 ? "none of them" : given.join(" and ")
    const message = `expected one of name, module, model or url, got ${came}`
    return [{ key: undefined, message }]
  }
  const definition = kind === "name" ? declaredReward(settings.name!) : undefined
  if (kind === "name" && definition === undefined) {
    const names = Object.keys(REWARDS)
    const meant = didYouMean(settings.name!, names) || ";"
    const message = `unknown reward "${settings.name}"${meant} known: ${names.join(", ")}; one of your own is { module: FILE }`
    return [{ key: "name", message }]
  }
  const parameters = definition?.parameters ?? {}
  const known = [kind, ...BESIDE[kind], ...Object.keys(parameters)]
  const unfit = Object.keys(settings).filter(
    (key) => settings[key] !== undefined && !known.includes(key),
  )
  const label = settings.name ?? kind
  return [
    ...unfit.map((key) => ({
      key,
      message: `does not fit the reward ${label}, which takes ${known.slice(1).join(", ")}`,
    })),
    ...(definition ? parameterProblems(definition, settings) : []),
  ]
}

function parameterProblems(
  definition: RewardDeclaration,
  settings: RewardSettings,
): RewardProblem[] {
  const found: RewardProblem[] = []
  for (const [key, parameter] of Object.entries(definition.parameters)) {
    const value = settings[key]
    if (value === undefined) continue
    const expected =
      parameter.kind === "number"
        ? typeof value === "number" && value >= parameter.min && value <= parameter.max
          ? undefined
          : `a number from ${parameter.min} to ${parameter.max}`
        : parameter.kind === "word"
          ? parameter.words.includes(value as string)
            ? undefined
            : `one of ${parameter.words.join(", ")}`
          : typeof value === "string"
            ? undefined
            : "text"
    if (expected === undefined) continue
    const came = JSON.stringify(value)?.slice(0, 80)
    found.push({ key, message: `expected ${expected} (${parameter.meaning}), got ${came}` })
  }
  const conflict = found.length === 0 && definition.conflict?.(rewardValues(definition, settings))
  return conflict ? [{ key: undefined, message: conflict }] : found
}

/** An entry's parameters, their defaults filled in. */
export function rewardValues(
  { parameters }: RewardDeclaration,
  settings: RewardSettings,
): RewardValues {
  return Object.fromEntries(
    Object.entries(parameters).map(([key, parameter]) => [
      key,
      (settings[key] ?? parameter.default) as number | string | null,
    ]),
  )
}

/** Of a path; a run's result is called as the run is. */
const lastPart = (path: string | undefined) =>
  path
    ?.replace(/[\\/]+$/, "")
    .replace(/[\\/]model$/, "")
    .replace(/^.*[\\/]/, "")

/**
 * What events call each reward: its name, its file's, its folder's or its host's; a second of a
 * name gets a number.
 */
export function rewardLabels(all: readonly RewardSettings[]): string[] {
  const seen = new Map<string, number>()
  return all.map(({ name, module, model, url }) => {
    const label = name ?? lastPart(module ?? model) ?? new URL(url!).host
    const count = (seen.get(label) ?? 0) + 1
    seen.set(label, count)
    return count === 1 ? label : `${label}-${count}`
  })
}
