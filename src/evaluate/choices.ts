/** Multiple choice: the answer that a model finds likeliest, nothing sampled. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { InputError } from "../errors.ts"
import { replaceFile } from "../formats/atomic.ts"
import { parseJson } from "../formats/json.ts"
import type { ScoredModel } from "../train/scored-model.ts"
import { plainVerdict } from "./judges/judge.ts"
import { checkRecordsFile, type EvaluationRecord, recordsPath } from "./records.ts"
import { type RowLoss, rowLosses } from "./row-losses.ts"
import type { Problem } from "./suites/suite.ts"

/** What a suite of choices writes as gold, as JSON. */
export interface ChoiceGold {
  /** What the answers continue, as it is written. */
  readonly context: string
  readonly choices: readonly string[]
  /** Of the right one. */
  readonly answer: number
  /**
   * likeliest: the sum of ln p; per-character: divided by the answer's length, which then costs
   * nothing.
   */
  readonly rule: "likeliest" | "per-character"
}

interface ChoiceOptions {
  readonly model: ScoredModel
  /** In the records. */
  readonly called: string
  readonly suite: string
  readonly problems: readonly Problem[]
  readonly folder: string
  readonly signal?: AbortSignal
  readonly onProgress?: (message: string) => void
}

const VERSION = "choices-2"
/** Tokens of a context with a choice. */
const MAX_LENGTH = 8192

const goldOf = ({ id, gold }: Problem) =>
  parseJson(gold, `the choices of ${id}`) as unknown as ChoiceGold

/**
 * Compares the log-probabilities of a problem's answers behind its context, without a template, as
 * lm-evaluation-harness does; the end of the turn does not count.
 */
export async function judgeChoices(options: ChoiceOptions): Promise<EvaluationRecord[]> {
  const { problems, suite, folder, called } = options
  checkRecordsFile(folder, suite)
  const golds = problems.map(goldOf)
  const losses = await choiceLosses(golds, options)
  const closes = losses.some((loss) => loss !== undefined && loss.ends > 0)
  const records: EvaluationRecord[] = []
  let at = 0
  for (const [i, { id, problem }] of problems.entries()) {
    const { choices, answer, rule } = golds[i]!
    const nll = choices.map(() => {
      const loss = losses[at++]
      // what is cut off has no end, and what is cut before the choice is no row at all
      if (loss !== undefined && (loss.ends > 0 || !closes)) return loss
      throw new InputError(
        `${suite} ${id}: has more than ${MAX_LENGTH} tokens with a choice; leave the problem out`,
      )
    })
    const sums = nll.map((loss) => loss.nll - loss.endNll)
    const [likeliest, best] = [leastOf(sums), leastOf(perCharacter(sums, choices))]
    const chosen = rule === "likeliest" ? likeliest : best
    const verdict = plainVerdict(
      {
        correct: chosen === answer,
        extracted: choices[chosen]!,
        gold: choices[answer]!,
        reason: `ln p: ${sums.map((sum) => (-sum).toFixed(2)).join(", ")}`,
      },
      VERSION,
    )
    const { version, mode, ...rest } = verdict
    records.push({
      suite,
      id,
      problem,
      model: called,
      completion: choices[chosen]!,
      answer: choices[answer]!,
      finish_reason: "stop",
      tokens: nll[chosen]!.tokens - nll[chosen]!.ends,
      ...rest,
      strict: likeliest === answer,
      lenient: best === answer,
      grading: mode,
      grader_version: version,
    } as unknown as EvaluationRecord)
  }
  await replaceFile(recordsPath(folder, suite), async (handle) => {
    for (const record of records) await handle.appendFile(`${JSON.stringify(record)}\n`)
  })
  return records
}

/** Code points, as lm-evaluation-harness counts them for acc_norm (task.py of 0.4.13). */
export const perCharacter = (values: readonly number[], choices: readonly string[]): number[] =>
  values.map((value, i) => value / [...choices[i]!].length)

const leastOf = (values: readonly number[]): number => values.indexOf(Math.min(...values))

/** Of every answer, in order; undefined for one that does not fit. */
async function choiceLosses(
  golds: readonly ChoiceGold[],
  { model, signal, onProgress }: ChoiceOptions,
): Promise<(RowLoss | undefined)[]> {
  const folder = mkdtempSync(join(tmpdir(), "dftune-choices-"))
  try {
    const path = join(folder, "choices.jsonl")
    const rows = golds.flatMap(({ context, choices }) =>
      choices.map((choice) => ({ prompt: context, completion: ` ${choice}` })),
    )
    writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""))
    const found = await rowLosses(model, {
      files: [path],
      maxLength: MAX_LENGTH,
      template: "none",
      ...(signal ? { signal } : {}),
      ...(onProgress ? { onProgress } : {}),
    })
    const byRow = new Map(found.map((loss) => [loss.row, loss]))
    return rows.map((_, i) => byRow.get(`${found[0]!.source}:${i + 1}`))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
