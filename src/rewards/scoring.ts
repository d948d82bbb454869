/** Several rewards as one: each sample scored by all, summed with their weights. */
import { InputError } from "../errors.ts"
import { describeValue } from "../formats/json.ts"
import {
  isUnfit,
  LARGEST_REWARD,
  type RewardContext,
  type RewardSample,
  type Score,
  type Scorer,
} from "./reward.ts"
import { asksPolicy, openScorer } from "./scorers.ts"
import { type RewardSettings, rewardLabels } from "./settings.ts"

/** What a sample was given. */
export interface Scored {
  /** The weighted sum of those that could be said; null where none could. */
  readonly reward: Score
  /** By the reward's label. */
  readonly rewards: Readonly<Record<string, Score>>
}

export interface Scoring {
  readonly labels: readonly string[]
  /** A reward asks the policy: none may be scored while it samples. */
  readonly asksPolicy?: boolean
  /** What can be known wrong before the first sample is there. */
  ready?(signal?: AbortSignal): Promise<void>
  score(samples: readonly RewardSample[], signal?: AbortSignal): Promise<Scored[]>
  close(): Promise<void>
}

/** Opens all rewards of a run; each is asked about all samples at once, all of them together. */
export function openScoring(settings: readonly RewardSettings[], context: RewardContext): Scoring {
  const labels = rewardLabels(settings)
  const scorers = settings.map((one): Scorer => openScorer(one, context))
  return {
    labels,
    asksPolicy: asksPolicy(settings),
    async ready(signal) {
      await Promise.all(scorers.map((scorer) => scorer.ready?.(signal)))
    },
    async score(samples, signal) {
      const columns = await Promise.all(
        scorers.map(async (scorer, i) =>
          (await scorer.score(samples, signal)).map((came, s) =>
            checked(came, labels[i]!, samples[s]!),
          ),
        ),
      )
      return samples.map((_, s) => {
        const rewards = Object.fromEntries(labels.map((label, i) => [label, columns[i]![s]!]))
        const said = settings.flatMap(({ weight }, i) => {
          const score = columns[i]![s]!
          return score === null ? [] : [weight * score]
        })
        const reward = said.length === 0 ? null : said.reduce((sum, part) => sum + part, 0)
        return { reward, rewards }
      })
    },
    async close() {
      for (const scorer of scorers) await scorer.close?.()
    },
  }
}

/**
 * A number or null.
 *
 * @throws InputError naming the reward, the prompt's row and the completion, for anything else
 */
function checked(came: unknown, label: string, { where, completion }: RewardSample): Score {
  if (came === null || came === undefined) return null
  if (typeof came === "number" && Math.abs(came) <= LARGEST_REWARD) return came
  const shown =
    typeof came === "number" ? String(came) : isUnfit(came) ? came.unfit : describeValue(came)
  const isTooLarge = typeof came === "number" && Number.isFinite(came)
  throw new InputError(
    `${where}: the reward ${label} gave ${shown} for the completion ${JSON.stringify(completion.slice(0, 80))}; expected a finite number${isTooLarge ? ` of at most ${LARGEST_REWARD}` : ""}, or null where it cannot say`,
  )
}
