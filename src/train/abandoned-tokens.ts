/** Whether an objective that weighs tokens by their probability is giving up those that end a turn or make up the template. */
import { type Objective, weightsAt } from "../objectives/index.ts"
import type { WarningEvent } from "../run/events.ts"
import { TOKEN_CLASSES, type TokenStatistics } from "./token-statistics.ts"

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
 * A warning when end-of-turn or special targets are unlikely, their class has hardly gained since `first`
 * (the run's first steps), and so the model will not learn to stop or to keep the format. Leave `first`
 * out before training (`probe`). `keepsThem` is whether the objective gives such tokens their full weight.
 */
export function abandonedTokensWarning({
  first,
  now,
  keepsThem,
}: {
  readonly first?: TokenStatistics
  readonly now: TokenStatistics
  readonly keepsThem: boolean
}): Pick<WarningEvent, "code" | "message" | "hint"> | undefined {
  if (keepsThem) return undefined
  for (const index of [1, 2] as const) {
    const { count, p } = now.classes[index]!
    const mean = p / count
    if (count === 0 || mean >= UNKNOWN_P) continue
    const before = first?.classes[index]
    const beforeMean = before === undefined || before.count === 0 ? mean : before.p / before.count
    if (first !== undefined && mean >= LEARNED_GROWTH * beforeMean) continue
    const kind = TOKEN_CLASSES[index]
    return {
      code: index === 1 ? "abandoned-end-of-turn" : "abandoned-special-tokens",
      message: `the ${kind} targets have a mean probability of ${mean.toPrecision(2)}, and weights near that: they are hardly trained${index === 1 ? ", and the model may never stop" : ""}`,
      hint: "set objective.keep_special: true, or objective.weight_floor: 0.1, or objective.ramp (SFT first)",
    }
  }
  return undefined
}
