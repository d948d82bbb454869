import { existsSync } from "node:fs"
import { join } from "node:path"
import { rowsOf } from "../data/row-objects.ts"
import { InputError } from "../errors.ts"
import { describeValue, isObject } from "../formats/json.ts"
import { readJsonFile } from "../formats/json-files.ts"
import { ownPlace } from "../host/own-place.ts"
import { recordsPath } from "./records.ts"
import type { ComparedSuite } from "./report.ts"
import { type Outcomes, pairedDifference } from "./statistics.ts"

/** Whether a folder holds an evaluation (`dftune eval --out`). */
export const isEvaluation = (folder: string): boolean => existsSync(join(folder, "eval.json"))

export interface EvaluationComparison {
  readonly a: string
  readonly b: string
  readonly suites: readonly ComparedSuite[]
}

/**
 * Each evaluation against the first, suite by suite, on the problems both have: paired bootstrap.
 *
 * @throws InputError when the folders share no suite, or were graded in different modes.
 */
export async function compareEvaluations(
  folders: readonly string[],
  seed = 0,
): Promise<EvaluationComparison[]> {
  const [first, ...others] = await Promise.all(folders.map(readEvaluation))
  if (first === undefined || others.length === 0) {
    throw new InputError("compare: expected two or more evaluation folders")
  }
  return others.map((other) => {
    const suites = [...first.suites].flatMap(([suite, a]): ComparedSuite[] => {
      const b = other.suites.get(suite)
      if (b === undefined) return []
      if (a.mode !== b.mode) {
        throw new InputError(
          `${other.folder}: ${suite} was graded in ${b.mode} mode, that of ${first.folder} in ${a.mode}; run eval again with the same --mode`,
        )
      }
      const shared = [...a.outcomes.keys()].filter((id) => b.outcomes.has(id))
      if (shared.length === 0) {
        throw new InputError(
          `${other.folder}: ${suite} shares no problem with ${first.folder}; compare evaluations that were asked the same`,
        )
      }
      const difference = pairedDifference(a.outcomes, b.outcomes, { seed })
      return [
        { suite, ...difference, a: average(a.outcomes, shared), b: average(b.outcomes, shared) },
      ]
    })
    if (suites.length === 0) {
      throw new InputError(`${other.folder}: shares no suite with ${first.folder}`)
    }
    return { a: first.folder, b: other.folder, suites }
  })
}

interface GradedSuite {
  readonly mode: unknown
  readonly outcomes: ReadonlyMap<string, Outcomes>
}

async function readEvaluation(
  folder: string,
): Promise<{ folder: string; suites: ReadonlyMap<string, GradedSuite> }> {
  const results = await readJsonFile(ownPlace(folder, "eval.json"))
  if (!Array.isArray(results)) {
    throw new InputError(`${folder}/eval.json: expected a list, got ${describeValue(results)}`)
  }
  const suites = new Map<string, GradedSuite>()
  for (const result of results) {
    if (!isObject(result) || typeof result.suite !== "string" || /[/\\]/.test(result.suite)) {
      throw new InputError(`${folder}/eval.json: expected results that name their suite`)
    }
    const outcomes = new Map<string, boolean[]>()
    for await (const { row } of rowsOf(recordsPath(folder, result.suite))) {
      const id = String(row.id)
      outcomes.set(id, [...(outcomes.get(id) ?? []), row.correct === true])
    }
    suites.set(result.suite, { mode: result.mode, outcomes })
  }
  return { folder, suites }
}

/** avg@n over the named problems. */
function average(outcomes: ReadonlyMap<string, Outcomes>, ids: readonly string[]): number {
  const shares = ids.map((id) => {
    const group = outcomes.get(id)!
    return group.filter(Boolean).length / group.length
  })
  return shares.reduce((a, b) => a + b, 0) / shares.length
}
