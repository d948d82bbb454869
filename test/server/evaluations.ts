/** Two evaluations of ten problems whose comparison is known: b = 1, c = 7, so p = 18 / 256. */
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"

const RIGHT: readonly (readonly [a: boolean, b: boolean])[] = [
  ...Array.from({ length: 7 }, () => [false, true] as const),
  [true, false],
  [true, true],
  [false, false],
]
/** 2 (C(8, 0) + C(8, 1)) / 2^8 */
export const MCNEMAR_P = 18 / 256

export function writeEvaluations(dir: string): void {
  for (const [i, name] of ["first", "second"].entries()) {
    const folder = join(dir, "evals", name)
    mkdirSync(folder, { recursive: true })
    const score = RIGHT.filter((pair) => pair[i]).length / RIGHT.length
    const results = [{ suite: "sums", model: name, problems: RIGHT.length, score, mode: "paper" }]
    writeFileSync(join(folder, "eval.json"), JSON.stringify(results))
    const records = RIGHT.map((pair, id) => ({
      ...{ id: `p${id}`, problem: `what is ${id} + 1?`, gold: String(id + 1) },
      ...{ completion: `${name} says ${pair[i] ? id + 1 : "no"}`, correct: pair[i] },
    }))
    writeFileSync(
      join(folder, "sums.jsonl"),
      records.map((record) => `${JSON.stringify(record)}\n`).join(""),
    )
  }
}
