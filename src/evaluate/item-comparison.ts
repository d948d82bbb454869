/**
 * Two evaluations of the same problems, problem by problem: who won what, and whether it is more
 * than luck.
 */
import { basename } from "node:path"
import { rowsOf } from "../data/row-objects.ts"
import { InputError } from "../errors.ts"
import { isObject, type JsonObject } from "../formats/json.ts"
import { readJsonFile } from "../formats/json-files.ts"
import { ownPlace } from "../host/own-place.ts"
import { recordsPath } from "./records.ts"

export interface ComparedItem {
  readonly id: string
  readonly prompt: string
  readonly gold: string
  /** Right answers of each, and how many there are. */
  readonly right: readonly [a: number, b: number]
  readonly samples: readonly [a: number, b: number]
  /** The first answer of each. */
  readonly answers: readonly [a: string, b: string]
}

export interface ItemComparison {
  readonly suite: string
  /** Problems that both, only the first, only the second, and neither solved. */
  readonly both: number
  readonly only_a: number
  readonly only_b: number
  readonly neither: number
  /** Two-sided, exact: a fair coin would split the problems that one alone solved this unevenly. */
  readonly mcnemar_p: number
  readonly items: readonly ComparedItem[]
}

/**
 * McNemar's exact test: of b + c problems that one model alone solved, c are the second's.
 *
 *     p = min(1, 2 sum_{k <= min(b, c)} C(b + c, k) / 2^(b + c))
 */
export function mcnemar(b: number, c: number): number {
  const n = b + c
  let logTerm = -n * Math.LN2 // ln of C(n, 0) / 2^n
  let sum = 0
  for (let k = 0; k <= Math.min(b, c); k++) {
    sum += Math.exp(logTerm)
    logTerm += Math.log((n - k) / (k + 1))
  }
  return Math.min(1, 2 * sum)
}

/** Suites of an evaluation's folder, with their scores. */
export async function evaluatedSuites(
  folder: string,
): Promise<{ suite: string; score: number; problems: number }[]> {
  const results = await readJsonFile(ownPlace(folder, "eval.json"))
  if (!Array.isArray(results)) throw new InputError(`${folder}/eval.json: expected a list`)
  return results.flatMap((result) =>
    // a suite's name is the name of its file
    isObject(result) && typeof result.suite === "string" && result.suite === basename(result.suite)
      ? [{ suite: result.suite, score: Number(result.score), problems: Number(result.problems) }]
      : [],
  )
}

/**
 * The problems that both evaluations have; of several answers a problem is solved where most are
 * right.
 *
 * @throws InputError where one of them has no such suite, or they share no problem
 */
export async function comparedItems(
  folders: readonly [a: string, b: string],
  suite: string,
): Promise<ItemComparison> {
  const [a, b] = await Promise.all(folders.map((folder) => answersOf(folder, suite)))
  const items = [...a!].flatMap(([id, ours]): ComparedItem[] => {
    const theirs = b!.get(id)
    if (!theirs) return []
    const right = (rows: readonly JsonObject[]) => rows.filter((row) => row.correct === true).length
    return [
      {
        id,
        prompt: questionOf(ours[0]!),
        gold: textOf(ours[0]!.gold ?? ours[0]!.answer),
        right: [right(ours), right(theirs)],
        samples: [ours.length, theirs.length],
        answers: [textOf(ours[0]!.completion), textOf(theirs[0]!.completion)],
      },
    ]
  })
  if (items.length === 0)
    throw new InputError(`${folders.join(" and ")} share no problem of ${suite}`)
  const solved = ({ right, samples }: ComparedItem, i: 0 | 1) => 2 * right[i] > samples[i]
  const count = (first: boolean, second: boolean) =>
    items.filter((item) => solved(item, 0) === first && solved(item, 1) === second).length
  const [onlyA, onlyB] = [count(true, false), count(false, true)]
  return {
    suite,
    both: count(true, true),
    only_a: onlyA,
    only_b: onlyB,
    neither: count(false, false),
    mcnemar_p: mcnemar(onlyA, onlyB),
    items,
  }
}

async function answersOf(folder: string, suite: string): Promise<Map<string, JsonObject[]>> {
  const suites = await evaluatedSuites(folder)
  if (!suites.some((one) => one.suite === suite)) {
    throw new InputError(
      `${folder}: has no suite ${suite}, but ${suites.map((s) => s.suite).join(", ")}`,
    )
  }
  const found = new Map<string, JsonObject[]>()
  for await (const { row } of rowsOf(recordsPath(folder, suite))) {
    const id = String(row.id)
    found.set(id, [...(found.get(id) ?? []), row])
  }
  return found
}

const textOf = (value: unknown): string =>
  typeof value === "string" ? value : value === undefined ? "" : JSON.stringify(value)

/** As rows of suites name what was asked. */
function questionOf(row: JsonObject): string {
  return textOf(row.problem ?? row.question ?? row.prompt ?? row.messages)
}
