/**
 * What is worth a warning while pairs or labels are trained: seen in the events, whichever engine
 * makes them.
 */
import type { Objective } from "../objectives/index.ts"
import type { RunEvent, StepEvent, WarningEvent } from "../run/events.ts"
import { abandonedTokensWatch } from "./abandoned-tokens.ts"
import { policyWatch } from "./policy-watch.ts"

type Warning = Pick<WarningEvent, "code" | "message" | "hint">

/** Steps that are compared: the first, and the last. */
const STEPS = 10
/** Accuracy and share of the first loss past which pairs are known by heart. */
const MEMORISED = { accuracy: 0.999, loss: 0.15 }
/** Share by which the chosen answers' ln p may fall. */
const FALLEN = 0.1
/** Steps in a row whose gradient is longer than max_grad_norm. */
const CLIPPED = 20

export interface WatchSettings {
  readonly max_grad_norm: number
}

const mean = (
  steps: readonly StepEvent[],
  field: "loss" | "reward_accuracy" | "reward_margin" | "logp_chosen",
) => steps.reduce((sum, step) => sum + (step[field] ?? 0), 0) / Math.max(1, steps.length)

interface Seen {
  readonly first: readonly StepEvent[]
  readonly last: readonly StepEvent[]
  /** Steps in a row, up to the last, that were clipped. */
  readonly clipped: number
}

type Kind = (seen: Seen) => Warning | undefined

const memorisedPairs: Kind = ({ first, last }) => {
  if (last.length < STEPS || mean(last, "reward_accuracy") < MEMORISED.accuracy) return undefined
  const [before, now] = [mean(first, "loss"), mean(last, "loss")]
  if (!(before > 0 && now < MEMORISED.loss * before)) return undefined
  return {
    code: "memorised-pairs",
    message: `every training pair of the last ${STEPS} steps is ranked rightly and the loss is ${now.toPrecision(2)} (${before.toPrecision(2)} at first): the pairs are known by heart`,
    hint: "look at held-out pairs (data.eval): lower learning_rate or num_train_epochs, or add pairs, if their accuracy does not follow",
  }
}

/** Of losses on ln p of answers. */
const OF_ANSWERS: readonly Kind[] = [
  ({ first, last }) => {
    if (first.length < STEPS || last.length < STEPS) return undefined
    const [before, now] = [mean(first, "logp_chosen"), mean(last, "logp_chosen")]
    const grows = mean(last, "reward_margin") > mean(first, "reward_margin")
    if (!grows || before - now <= FALLEN * Math.abs(before)) return undefined
    return {
      code: "chosen-falling",
      message: `the chosen answers have become less likely (ln p ${before.toFixed(1)} at first, ${now.toFixed(1)} now) while the margin grows: the model learns what not to say`,
      hint: "some of it is usual; if samples get worse, lower learning_rate, raise objective.beta, or add objective.sft: 0.2",
    }
  },
  ({ clipped }) => {
    if (clipped < CLIPPED) return undefined
    return {
      code: "always-clipped",
      message: `the gradient was longer than max_grad_norm in each of the last ${CLIPPED} steps: that bound, not the loss, decides how far each step goes`,
      hint: "losses of pairs are sums over answers and have long gradients; compare runs at the same max_grad_norm, or raise it and lower learning_rate",
    }
  },
]

/** Each kind once; `before` are the events of the run that this one continues. */
function preferenceWatch(
  { trainsOn }: Pick<Objective, "trainsOn">,
  { max_grad_norm }: WatchSettings,
  before: readonly RunEvent[],
): (event: RunEvent) => Warning | undefined {
  const watched = trainsOn === "pairs" || trainsOn === "labels" || trainsOn === "scores"
  // the gradient of a score is no sum over an answer
  const kinds = trainsOn === "scores" ? [memorisedPairs] : [memorisedPairs, ...OF_ANSWERS]
  const first: StepEvent[] = []
  let last: StepEvent[] = []
  let clipped = 0
  const told = new Set(before.flatMap((event) => (event.type === "warning" ? [event.code] : [])))
  const see = (step: StepEvent) => {
    if (first.length < STEPS) first.push(step)
    last = [...last, step].slice(-STEPS)
    clipped = max_grad_norm > 0 && step.grad_norm > max_grad_norm ? clipped + 1 : 0
  }
  for (const event of before) if (event.type === "step") see(event)
  return (event) => {
    if (!watched || event.type !== "step") return undefined
    see(event)
    const found = kinds
      .flatMap((kind) => kind({ first, last, clipped }) ?? [])
      .find(({ code }) => !told.has(code))
    if (found) told.add(found.code)
    return found
  }
}

/** Watches the events of a run: what to warn of after this one. */
export function runWatch(
  objective: Pick<Objective, "expression" | "trainsOn">,
  settings: WatchSettings,
  before: readonly RunEvent[] = [],
): (event: RunEvent) => Warning | undefined {
  const abandoned = abandonedTokensWatch(objective, before)
  const preference = preferenceWatch(objective, settings, before)
  const policy = objective.trainsOn === "rollouts" ? policyWatch(before) : undefined
  return (event) => abandoned(event) ?? preference(event) ?? policy?.(event)
}
