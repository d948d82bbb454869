/**
 * Are programs judged right? HumanEval's own solutions must all pass, and solutions with one thing
 * changed must fail wherever plain Python fails them:
 *
 *     npm run bench -- programs --suite-dir FOLDER [--mutants 1] [--python python3]
 *
 * FOLDER holds HumanEval.jsonl. Without --python only the solutions are judged.
 */
import { spawnSync } from "node:child_process"
import { parseArgs } from "node:util"
import { rowsOf } from "../src/data/row-objects.ts"
import { programJudge } from "../src/evaluate/judges/programs.ts"
import { openSuite } from "../src/evaluate/suites/index.ts"
import { randomStream } from "../src/random.ts"

/** One change of a solution, each of a kind that a model's mistakes have. */
const CHANGES: readonly (readonly [RegExp, string])[] = [
  [/ \+ /g, " - "],
  [/ - /g, " + "],
  [/ == /g, " != "],
  [/ < /g, " <= "],
  [/ > /g, " >= "],
  [/ <= /g, " < "],
  [/ >= /g, " > "],
  [/\b1\b/g, "2"],
  [/\b0\b/g, "1"],
  [/\breturn (?=\S)/g, "return not "],
  [/\band\b/g, "or"],
  [/\bor\b/g, "and"],
  [/\bTrue\b/g, "False"],
  [/\[::-1\]/g, ""],
  [/\bmax\b/g, "min"],
]

function mutated(solution: string, random: () => number): string {
  const all = CHANGES.flatMap(([pattern, text]) =>
    [...solution.matchAll(pattern)].map(({ index, 0: found }) => ({ index, found, text })),
  )
  const one = all[Math.floor(random() * all.length)]
  if (one === undefined) return "    return None\n"
  return solution.slice(0, one.index) + one.text + solution.slice(one.index + one.found.length)
}

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      "suite-dir": { type: "string" },
      mutants: { type: "string", default: "1" },
      python: { type: "string" },
      limit: { type: "string" },
    },
  })
  const folder = values["suite-dir"]
  if (folder === undefined) throw new Error("--suite-dir: the folder of HumanEval.jsonl")
  const limit = values.limit === undefined ? undefined : Number(values.limit)
  const { problems } = await openSuite("humaneval", { folder, limit })
  const rows = new Map<string, Record<string, unknown>>()
  for await (const { row } of rowsOf(`${folder}/HumanEval.jsonl`))
    rows.set(String(row.task_id), row)
  await using judge = await programJudge()
  const solutionOf = (id: string) => String(rows.get(id)!.canonical_solution)
  const began = performance.now()
  const solved = await judge.judge(
    problems.map(({ id, gold }) => ({ completion: solutionOf(id), gold })),
  )
  const wrong = problems.filter((_, i) => !solved[i]!.correct)
  const seconds = (performance.now() - began) / 1000
  console.log(`solutions that pass: ${problems.length - wrong.length} of ${problems.length}`)
  console.log(`${(seconds / problems.length).toFixed(2)} s a program`)
  for (const { id } of wrong) console.log(`  ${id}`)
  if (values.python === undefined) return
  const random = randomStream(0, "mutants")
  const mutants = problems.flatMap((problem) =>
    Array.from({ length: Number(values.mutants) }, () => ({
      ...problem,
      completion: mutated(solutionOf(problem.id), random),
    })),
  )
  const judged = await judge.judge(mutants)
  const upstream = mutants.map(({ id, completion }) => {
    const { prompt, test, entry_point: entry } = rows.get(id)!
    const program = `${prompt}${completion}\n${test}\ncheck(${entry})\n`
    return spawnSync(values.python!, ["-c", program], { timeout: 10_000 }).status === 0
  })
  const count = (ours: boolean, theirs: boolean) =>
    mutants.filter((_, i) => judged[i]!.correct === ours && upstream[i] === theirs).length
  console.log(
    `mutants: ${mutants.length}; that Python fails: ${count(true, false) + count(false, false)}`,
  )
  console.log(`of those we pass: ${count(true, false)}`)
  console.log(`that Python passes and we fail: ${count(false, true)}`)
  for (const [i, { id }] of mutants.entries())
    if (judged[i]!.correct !== upstream[i]) console.log(`  ${id}: ${judged[i]!.reason}`)
}
