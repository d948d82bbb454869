/** A reward that the policy gives its own answers (URPO, arXiv 2507.17515). */
import { keysOf } from "./math.ts"
import type { RewardSample, RewardWork, Score } from "./reward.ts"

const isNumber = (value: unknown) => typeof value === "number" && Number.isFinite(value)

const NUMBER = /-?\d+(?:\.\d+)?/g

/**
 * The policy, as it is, is asked to judge each answer, greedily; the last number of its reply over
 * `scale` is the reward, null where it says none. A row with a `ranking` is a question that asks
 * for scores: its reward is how far those that the answer ends with are in the ranking's order
 * (Kendall's tau). Of URPO an abstract and a summary were read; its own prompts and formulas were
 * not.
 */
export const selfScore: RewardWork = {
  asksPolicy: true,
  rowProblem(row) {
    if (row.ranking === undefined) return undefined
    const isRanking = Array.isArray(row.ranking) && row.ranking.length > 1
    if (isRanking && (row.ranking as unknown[]).every(isNumber)) return undefined
    return `the reward self-score takes a ranking as a list of two or more numbers, the better the larger; the row has ${keysOf(row)}`
  },
  open({ prompt, scale, reply }, { ask }) {
    return {
      async score(samples, signal) {
        const open = samples.filter(({ row }) => row.ranking === undefined)
        const texts = open.map((sample) => judgePrompt(String(prompt), sample))
        const replies = await ask!(texts, { maxNewTokens: Math.round(Number(reply)), signal })
        const judged = new Map(open.map((sample, i) => [sample, scoreIn(replies[i]!, scale)]))
        return samples.map(
          (sample) =>
            judged.get(sample) ??
            (sample.row.ranking === undefined
              ? null
              : agreement(sample.completion, sample.row.ranking as number[])),
        )
      },
    }
  },
}

function judgePrompt(template: string, { prompt, completion }: RewardSample): string {
  const question = typeof prompt === "string" ? prompt : lastText(prompt)
  return template.replaceAll("{question}", () => question).replaceAll("{answer}", () => completion)
}

/** Of a conversation, what its last turn says. */
function lastText(messages: unknown): string {
  const last = (messages as readonly { readonly content?: unknown }[]).at(-1)
  return typeof last?.content === "string" ? last.content : JSON.stringify(last?.content ?? "")
}

export function scoreIn(reply: string, scale: unknown): Score {
  const said = reply.match(NUMBER)?.at(-1)
  return said === undefined ? null : Math.min(1, Math.max(0, Number(said) / Number(scale)))
}

/**
 * Kendall's tau of the numbers that an answer ends with and the ranking: (pairs in its order -
 * pairs against it) / pairs that it tells apart. -1 where there are fewer numbers than places.
 */
export function agreement(answer: string, ranking: readonly number[]): number {
  const said = (answer.match(NUMBER) ?? []).slice(-ranking.length).map(Number)
  if (said.length < ranking.length) return -1
  let [sum, pairs] = [0, 0]
  for (let i = 0; i < ranking.length; i++) {
    for (let j = i + 1; j < ranking.length; j++) {
      const wanted = Math.sign(ranking[i]! - ranking[j]!)
      if (wanted === 0) continue
      pairs++
      sum += wanted * Math.sign(said[i]! - said[j]!)
    }
  }
  return pairs === 0 ? 0 : sum / pairs
}
