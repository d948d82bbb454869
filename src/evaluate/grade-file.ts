import { existsSync, renameSync, rmSync } from "node:fs"
import { dirname } from "node:path"
import { rowsOf } from "../data/row-objects.ts"
import { assert, InputError } from "../errors.ts"
import { makeFolder, removeLeft, temporaryName, writeError } from "../formats/atomic.ts"
import type { JsonObject } from "../formats/json.ts"
import { readJsonObject } from "../formats/json-files.ts"
import { openLineFile } from "../formats/line-file.ts"
import { originPath } from "../generate/sample-origin.ts"
import { goldOf } from "../grading/gold.ts"
import { type GradeItem, Grader } from "../grading/grader/grader.ts"
import { goldString, type Mode, type Verdict } from "../grading/grader/verdict.ts"
import { checkOutputFile, firstRowHas } from "../host/output-place.ts"
import { verdictFields } from "./evaluation.ts"
import {
  askedAndAnswered,
  chooseLabelled,
  choosePairs,
  type LabelOptions,
  type Pair,
  type PairOptions,
} from "./preference-rows.ts"
import { type GradedMark, gradedMark, type SelectionOptions, selectCorrect } from "./selection.ts"

export interface GradeFileOptions {
  readonly mode: Mode
  /** Keep only correct rows, thinned as said. */
  readonly keep?: SelectionOptions | undefined
  /** Write preference rows in place of the graded ones: prompt, chosen, rejected. */
  readonly pairs?: PairOptions | undefined
  /** Write labelled rows in place of the graded ones: prompt, completion, label. */
  readonly labels?: LabelOptions | undefined
  /** File to write (atomically), or a receiver of rows. */
  readonly out: string | ((row: JsonObject) => void)
  readonly signal?: AbortSignal
  readonly onProgress?: (graded: number) => void
  /** Of this mode, for several files one after the other; without one, this file has its own. */
  readonly grader?: Grader
}

export interface GradeSummary {
  readonly rows: number
  readonly correct: number
  readonly undecided: number
  readonly no_answer: number
  readonly strict: number
  readonly lenient: number
  readonly prompts: number
  /** Prompts with at least one correct row. */
  readonly prompts_solved: number
  /** Rows written. */
  readonly kept: number
}

const CHUNK = 512

/**
 * Grades a file of samples: `completion` against `answer`. Rows stream; what is held of each is
 * two hashes, and with `keep` its verdict, while the rows themselves are read a second time.
 *
 * @throws InputError naming file and line of a row without completion or answer.
 */
export async function gradeFile(path: string, options: GradeFileOptions): Promise<GradeSummary> {
  const { keep, pairs, labels, out, onProgress } = options
  const later = keep ?? pairs ?? labels
  if (typeof out === "string") {
    checkOutputFile(out, {
      option: "--out",
      reads: [{ path, what: "the samples" }],
      wrote: (head) => WRITTEN.some((keys) => firstRowHas(head, keys)),
      writer: "dftune grade",
    })
  }
  const output =
    typeof out === "string" ? wholeFile(out) : { write: out, finish() {}, abandon() {} }
  const marks: GradedMark[] = []
  const tally = { rows: 0, correct: 0, undecided: 0, no_answer: 0, strict: 0, lenient: 0 }
  const held: Verdict[] = []
  let written = 0
  try {
    for await (const { row, verdict } of gradedRows(path, options)) {
      marks.push(gradedMark(row, verdict))
      tally.rows++
      tally.correct += Number(verdict.correct)
      tally.undecided += Number(!verdict.decided)
      tally.no_answer += Number(verdict.found === "nothing")
      tally.strict += Number(verdict.strict)
      tally.lenient += Number(verdict.lenient)
      onProgress?.(tally.rows)
      if (keep) held.push(verdict)
      if (!later) {
        output.write({ ...row, ...verdictFields(verdict) })
        written++
      }
    }
    if (tally.rows === 0) throw new InputError(`${path}: expected rows to grade, found none`)
    if (keep) {
      const kept = selectCorrect(marks, keep)
      let i = 0
      for await (const { row } of rowsOf(path)) {
        if (kept.has(i)) output.write({ ...row, ...verdictFields(held[i]!) })
        i++
      }
      written = kept.size
    }
    if (pairs) written = await writePairs(path, choosePairs(marks, pairs), output.write)
    if (labels) written = await writeLabels(path, marks, labels, output.write)
    output.finish()
  } catch (error) {
    output.abandon()
    throw error
  }
  const solved = new Set(marks.filter(({ correct }) => correct).map(({ prompt }) => prompt))
  const prompts = new Set(marks.map(({ prompt }) => prompt)).size
  return { ...tally, prompts, prompts_solved: solved.size, kept: written }
}

/** First keys of what this command writes. */
const WRITTEN = [
  ["correct", "reason"],
  ["chosen", "rejected"],
  ["completion", "label"],
] as const

type Write = (row: JsonObject) => void

/** The pairs' rows in one more pass; a pair is written when both its samples have been seen. */
async function writePairs(path: string, pairs: readonly Pair[], write: Write): Promise<number> {
  const plainText = await askedAsText(path)
  const wanted = new Map<number, Pair[]>()
  for (const pair of pairs) {
    for (const i of pair) wanted.set(i, [...(wanted.get(i) ?? []), pair])
  }
  const seen = new Map<number, ReturnType<typeof askedAndAnswered>>()
  let i = 0
  for await (const { row, where } of rowsOf(path)) {
    const mine = wanted.get(i)
    if (mine) seen.set(i, askedAndAnswered(row, where, plainText))
    for (const [chosen, rejected] of mine ?? []) {
      const [better, worse] = [seen.get(chosen), seen.get(rejected)]
      if (!better || !worse) continue
      write({ prompt: better.prompt, chosen: better.answer, rejected: worse.answer } as JsonObject)
    }
    i++
  }
  return pairs.length
}

async function writeLabels(
  path: string,
  marks: readonly GradedMark[],
  options: LabelOptions,
  write: Write,
): Promise<number> {
  const plainText = await askedAsText(path)
  const kept = chooseLabelled(marks, options)
  let i = 0
  for await (const { row, where } of rowsOf(path)) {
    if (kept.has(i)) {
      const { prompt, answer } = askedAndAnswered(row, where, plainText)
      write({ prompt, completion: answer, label: marks[i]!.correct } as JsonObject)
    }
    i++
  }
  return kept.size
}

/** Whether the samples' record says that their prompts were texts without a template. */
async function askedAsText(path: string): Promise<boolean> {
  const record = originPath(path)
  if (!existsSync(record)) return false
  return (await readJsonObject(record)).prompts === "text"
}

async function* gradedRows(
  path: string,
  { mode, signal, grader: shared }: GradeFileOptions,
): AsyncGenerator<{ row: JsonObject; verdict: Verdict }> {
  await using own = shared === undefined ? new Grader({ mode }) : undefined
  const grader = shared ?? own!
  assert(grader.mode === mode, `grader: expected one that judges ${mode}`)
  let rows: JsonObject[] = []
  let items: GradeItem[] = []
  for await (const { where, row } of rowsOf(path)) {
    rows.push(row)
    items.push(itemOf(row, where))
    if (rows.length < CHUNK) continue
    const verdicts = await grader.grade(items, signal)
    yield* rows.map((each, i) => ({ row: each, verdict: verdicts[i]! }))
    ;[rows, items] = [[], []]
  }
  const verdicts = await grader.grade(items, signal)
  yield* rows.map((each, i) => ({ row: each, verdict: verdicts[i]! }))
}

function itemOf(row: JsonObject, where: string): GradeItem {
  if (typeof row.completion !== "string") {
    throw new InputError(
      `${where}: expected "completion" to be text, got ${kindOf(row.completion)}`,
    )
  }
  const gold = goldString(goldOf(row))
  if (gold !== undefined) return { completion: row.completion, gold }
  throw new InputError(
    `${where}: expected a gold answer under "answer"; the row has ${Object.keys(row).slice(0, 8).join(", ")}`,
  )
}

const kindOf = (value: unknown): string =>
  value === undefined ? "nothing" : value === null ? "null" : typeof value

/** A file written line by line under a temporary name, renamed when it is whole. */
function wholeFile(path: string) {
  const temporary = temporaryName(path)
  makeFolder(dirname(path))
  removeLeft(path)
  const file = openLineFile(temporary)
  return {
    write: (row: JsonObject) => file.append(JSON.stringify(row)),
    finish(): void {
      file.flush()
      file.close()
      try {
        renameSync(temporary, path)
      } catch (error) {
        throw writeError(error, path)
      }
    },
    abandon(): void {
      file.close()
      rmSync(temporary, { force: true })
    },
  }
}
