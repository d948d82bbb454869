/**
 * Whether an objective that weighs tokens by their probability is giving up those that end a turn
 * or make up the template.
 */
import { type Objective, weightsAt } from "../objectives/index.ts"
import type { RunEvent, StepEvent, WarningEvent } from "../run/events.ts"

/** A target that the model does not expect at all, and the least weight that will teach it. */
const UNEXPECTED_P = 1e-4
const TEACHING_WEIGHT = 0.05

/**
 * Whether an objective gives end-of-turn and template tokens a weight however unlikely they are, at
 * least when a run begins. Weights that depend on more than the probability are not trusted to.
 */
export function keepsSpecialTokens(objective: Pick<Objective, "expression">): boolean {
  return [1, 2].every((tokenClass) => {
    const weights = weightsAt(objective, [UNEXPECTED_P], { tokenClass, progress: 0 })
    return weights !== undefined && weights[0]! >= TEACHING_WEIGHT
  })
}

/** Below this mean probability a token class counts as not known by the model. */
const UNKNOWN_P = 0.1
/** A class is being learned when its mean probability has grown by this factor. */
const LEARNED_GROWTH = 2

/**
 * Mean probabilities of the targets that end a turn and of the template's; null where there are
 * none.
 */
export type SpecialTokens = Pick<StepEvent, "eos_p" | "special_p">
type Warning = Pick<WarningEvent, "code" | "message" | "hint">

const KINDS = [
  { field: "eos_p", name: "end of turn", code: "abandoned-end-of-turn" },
  { field: "special_p", name: "special", code: "abandoned-special-tokens" },
] as const

/**
 * A warning when end-of-turn or special targets are unlikely, their kind has hardly gained since
 * `first` (the run's first step), and so the model will not learn to stop or to keep the format.
 * Leave `first` out before training (`probe`). `keepsThem` is whether the objective gives such
 * tokens their full weight.
 */
export function abandonedTokensWarning({
  first,
  now,
  keepsThem,
}: {
  readonly first?: SpecialTokens
  readonly now: SpecialTokens
  readonly keepsThem: boolean
}): Warning | undefined {
  if (keepsThem) return undefined
  for (const { field, name, code } of KINDS) {
    const mean = now[field] ?? null
    if (mean === null || mean >= UNKNOWN_P) continue
    if (first !== undefined && mean >= LEARNED_GROWTH * (first[field] ?? mean)) continue
    const stops = field === "eos_p" ? ", and the model may never stop" : ""
    return {
      code,
      message: `the ${name} targets have a mean probability of ${mean.toPrecision(2)}, and weights near that: they are hardly trained${stops}`,
      hint: "set objective.keep_special: true, or objective.weight_floor: 0.1, or objective.ramp (SFT first)",
    }
  }
  return undefined
}

/**
 * Watches the events of a run, whichever engine makes them: what to warn of after this one. Warns
 * once; `before` are the events of the run that this one continues.
 */
export function abandonedTokensWatch(
  objective: Pick<Objective, "expression" | "trainsOn">,
  before: readonly RunEvent[] = [],
): (event: RunEvent) => Warning | undefined {
  // Of pairs and samples unlikely tokens are often meant to be.
  const keepsThem = objective.trainsOn !== "targets" || keepsSpecialTokens(objective)
  let first = before.find((event) => event.type === "step")
  let warned = before.some(
    (event) => event.type === "warning" && KINDS.some(({ code }) => code === event.code),
  )
  return (event) => {
    if (warned || event.type !== "step") return undefined
    first ??= event
    const warning = abandonedTokensWarning({ first, now: event, keepsThem })
    warned = warning !== undefined
    return warning
  }
}
