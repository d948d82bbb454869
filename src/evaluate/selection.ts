import { createHash } from "node:crypto"
import type { JsonObject } from "../formats/json.ts"
import { randomStream } from "../random.ts"

export interface SelectionOptions {
  /** Drop completions that repeat for a prompt (white space aside). */
  readonly dedupe: boolean
  /** At most k rows of each prompt. */
  readonly maxPerPrompt: number | undefined
  /** As many kept rows from each quarter of difficulty. */
  readonly balance: boolean
  readonly seed?: number
}

const digest = (value: unknown): string =>
  createHash("sha256").update(JSON.stringify(value)).digest("base64").slice(0, 22)

/** What is small enough to hold of every graded row. */
export interface GradedMark {
  readonly prompt: string
  readonly completion: string
  readonly correct: boolean
  /** The row's own numeric `reward` where it has one, else 1 for correct and 0 for wrong. */
  readonly score: number
  /** Decided, and with a completion. */
  readonly usable: boolean
}

type Graded = Pick<GradedMark, "prompt" | "completion" | "correct">

const PROMPT_KEYS = ["prompt", "messages", "problem", "question"]

export function gradedMark(
  row: JsonObject,
  verdict: { correct: boolean; decided: boolean },
): GradedMark {
  const { correct, decided } = verdict
  const { reward } = row
  const key = PROMPT_KEYS.find((name) => row[name] !== undefined && row[name] !== null)
  return {
    prompt: digest(key === undefined ? (row.id ?? row.answer) : row[key]),
    completion: digest(String(row.completion).trim().replace(/\s+/g, " ")),
    correct,
    score: typeof reward === "number" ? reward : Number(correct),
    usable: decided && row.completion !== "" && row.error === undefined,
  }
}

const QUARTERS = 4

/**
 * Which rows are kept: correct ones, thinned as the options say. Difficulty is the share of a
 * prompt's samples that are correct, in quarters; with `balance` each quarter that has rows keeps
 * as many as the smallest, drawn with the seed.
 */
export function selectCorrect(
  rows: readonly Graded[],
  { dedupe, maxPerPrompt, balance, seed = 0 }: SelectionOptions,
): ReadonlySet<number> {
  const seen = new Set<string>()
  const perPrompt = new Map<string, number>()
  const kept: number[] = []
  for (const [i, { prompt, completion, correct }] of rows.entries()) {
    if (!correct) continue
    if (dedupe && seen.has(prompt + completion)) continue
    const count = perPrompt.get(prompt) ?? 0
    if (maxPerPrompt !== undefined && count >= maxPerPrompt) continue
    seen.add(prompt + completion)
    perPrompt.set(prompt, count + 1)
    kept.push(i)
  }
  return new Set(balance ? balanced(rows, kept, seed) : kept)
}

function balanced(rows: readonly Graded[], kept: readonly number[], seed: number): number[] {
  const counts = new Map<string, { correct: number; all: number }>()
  for (const { prompt, correct } of rows) {
    const count = counts.get(prompt) ?? { correct: 0, all: 0 }
    counts.set(prompt, { correct: count.correct + Number(correct), all: count.all + 1 })
  }
  const quarters: number[][] = Array.from({ length: QUARTERS }, () => [])
  for (const i of kept) {
    const { correct, all } = counts.get(rows[i]!.prompt)!
    quarters[Math.min(QUARTERS - 1, Math.ceil((QUARTERS * correct) / all) - 1)]!.push(i)
  }
  const filled = quarters.filter((quarter) => quarter.length > 0)
  const size = Math.min(...filled.map((quarter) => quarter.length))
  const uniform = randomStream(seed, "balance by difficulty")
  return filled.flatMap((quarter) => {
    const order = quarter.map((i) => ({ i, at: uniform() })).sort((a, b) => a.at - b.at)
    return order.slice(0, size).map(({ i }) => i)
  })
}
