import { existsSync } from "node:fs"
import { basename, join } from "node:path"
import { rowsOf } from "../../data/row-objects.ts"
import { shownKeys } from "../../data/rows/values.ts"
import { InputError } from "../../errors.ts"
import type { JsonObject } from "../../formats/json.ts"
import { boxedGroups } from "../../grading/grader/boxes.ts"
import { type Gold, goldString } from "../../grading/grader/verdict.ts"
import { resolveDataset } from "../../hub/hub.ts"
import type { JudgeName } from "../judges/index.ts"

export interface Problem {
  /** Unique within the suite. */
  readonly id: string
  readonly problem: string
  /** What a model without a template continues, where it is another text. */
  readonly continues?: string
  /** What a completion is judged by, as the suite's judge reads it. */
  readonly gold: string
}

/** A benchmark: where it comes from, and how a row is read. One file each. */
export interface Suite {
  readonly name: string
  readonly title: string
  /** Files looked for under the suite folder, first match wins. */
  readonly files: readonly string[]
  readonly hub: { readonly id: string; readonly name?: string; readonly split: string } | undefined
  /** How completions are judged; math when left out. */
  readonly judge?: JudgeName
  readonly read: (
    row: JsonObject,
    where: string,
  ) => { problem: string; gold: Gold; id?: string; continues?: string }
}

/** The first of `keys` that holds text or a number. */
export function field(row: JsonObject, keys: readonly string[], where: string): string {
  for (const key of keys) {
    const value = row[key]
    if (typeof value === "string" && value.trim() !== "") return value
    if (typeof value === "number") return String(value)
  }
  throw new InputError(`${where}: expected ${keys.join(" or ")}; the row has ${shownKeys(row)}`)
}

/** `answer`, or the last box of the worked solution. */
export function answerOrBox(row: JsonObject, where: string): string {
  const { answer } = row
  if (typeof answer === "string" || typeof answer === "number") return String(answer)
  const solution = field(row, ["solution"], where)
  const boxes = boxedGroups(solution)
  if (boxes !== "cut off" && boxes.length > 0) return solution
  throw new InputError(`${where}: expected answer, or a solution with \\boxed{}`)
}

export interface LoadOptions {
  /** Folder with the suites' files; without it they come from the hub. */
  readonly folder?: string | undefined
  readonly limit?: number | undefined
}

/**
 * A suite's problems, from a local folder or the hub.
 *
 * @throws InputError when files are missing, or a row has no problem or answer.
 */
export async function loadSuite(suite: Suite, { folder, limit }: LoadOptions): Promise<Problem[]> {
  const paths = await suiteFiles(suite, folder)
  const problems: Problem[] = []
  const seen = new Set<string>()
  for (const path of paths) {
    for await (const { where, row } of rowsOf(path)) {
      const { problem, gold, id, continues } = suite.read(row, where)
      const answer = goldString(gold)
      if (answer === undefined || answer.trim() === "") {
        throw new InputError(`${where}: expected a gold answer, got an empty one`)
      }
      const isOwn = id !== undefined && id !== "__proto__" && !seen.has(id)
      let key = isOwn ? id : `${basename(path)}:${problems.length + 1}`
      while (seen.has(key)) key = `${key}+`
      seen.add(key)
      problems.push({ id: key, problem, gold: answer, ...(continues ? { continues } : {}) })
      if (limit !== undefined && problems.length >= limit) return problems
    }
  }
  if (problems.length === 0)
    throw new InputError(`${paths.join(", ")}: expected problems of ${suite.name}, found none`)
  return problems
}

async function suiteFiles(suite: Suite, folder: string | undefined): Promise<readonly string[]> {
  if (folder !== undefined) {
    const found = suite.files.map((file) => join(folder, file)).find((path) => existsSync(path))
    if (found !== undefined) return [found]
    throw new InputError(
      `suite folder ${folder}: found no file of ${suite.name}; looked for ${suite.files.join(", ")}`,
    )
  }
  if (suite.hub === undefined) throw new InputError(`${suite.name}: give --suite-dir`)
  const { id, ...options } = suite.hub
  return resolveDataset(id, options)
}
