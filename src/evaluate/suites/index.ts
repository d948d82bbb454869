import { existsSync } from "node:fs"
import { basename, dirname } from "node:path"
import { didYouMean } from "../../closest-name.ts"
import { InputError } from "../../errors.ts"
import type { JudgeName } from "../judges/index.ts"
import { aime24 } from "./aime24.ts"
import { amc23 } from "./amc23.ts"
import { arcChallenge, arcEasy } from "./arc.ts"
import { choiceSuite } from "./choices.ts"
import { gsm8k } from "./gsm8k.ts"
import { humaneval } from "./humaneval.ts"
import { ifeval } from "./ifeval.ts"
import { math500 } from "./math500.ts"
import { mawps } from "./mawps.ts"
import { mbpp } from "./mbpp.ts"
import { minervaMath } from "./minerva-math.ts"
import { mmlu } from "./mmlu.ts"
import { olympiadbench } from "./olympiadbench.ts"
import {
  answerOrBox,
  field,
  type LoadOptions,
  loadSuite,
  type Problem,
  type Suite,
} from "./suite.ts"
import { svamp } from "./svamp.ts"

export const SUITES: readonly Suite[] = [
  gsm8k,
  math500,
  minervaMath,
  olympiadbench,
  aime24,
  amc23,
  svamp,
  mawps,
  humaneval,
  mbpp,
  arcChallenge,
  arcEasy,
  mmlu,
  ifeval,
]

/** The sets of the paper's tables. */
export const PAPER_SUITES = ["math500", "minerva_math", "olympiadbench", "aime24", "amc23"] as const

/** A user's own rows: problem, question or prompt; answer, a solution with a box, or choices. */
function fileSuite(path: string, judge: JudgeName): Suite {
  const source = {
    name: basename(path).replace(/\.[^.]*$/, ""),
    title: path,
    files: [basename(path)],
    hub: undefined,
  }
  if (judge === "choices") return choiceSuite(source)
  return {
    ...source,
    judge,
    read: (row, where) => ({
      problem: field(row, ["problem", "question", "prompt"], where),
      gold:
        judge === "exact" ? field(row, ["answer", "completion"], where) : answerOrBox(row, where),
      ...(typeof row.id === "string" || typeof row.id === "number" ? { id: String(row.id) } : {}),
    }),
  }
}

export interface OpenedSuite {
  readonly name: string
  readonly title: string
  readonly judge: JudgeName
  readonly problems: readonly Problem[]
}

/** The file of a suite that is no benchmark by name, and how its answers are judged. */
export function suiteFile(name: string): { readonly how: string; readonly path: string } {
  const [, how = "math", path = name] = /^(exact|choices):(.+)$/.exec(name) ?? []
  return { how, path }
}

/**
 * A suite by name or hub id, or the path of a file of rows; `exact:FILE` compares its answers as
 * texts, `choices:FILE` the probabilities of its choices.
 *
 * @throws InputError when there is neither.
 */
export async function openSuite(name: string, options: LoadOptions): Promise<OpenedSuite> {
  const known = SUITES.find((suite) => suite.name === name)
  if (known) return opened(known, options)
  const { how, path } = suiteFile(name)
  if (!existsSync(path)) return opened(suiteOfHub(name), options)
  return opened(fileSuite(path, how as JudgeName), {
    ...options,
    folder: dirname(path),
  })
}

/** The suite whose rows the hub has under that id. */
function suiteOfHub(id: string): Suite {
  const found = SUITES.filter(({ hub }) => hub?.id.toLowerCase() === id.toLowerCase())
  if (found.length === 1) return found[0]!
  const names = SUITES.map((suite) => suite.name)
  if (found.length > 1) {
    const several = found.map((suite) => suite.name).join(" or ")
    throw new InputError(`suite ${id}: holds several suites; name ${several}`)
  }
  const ids = SUITES.flatMap(({ hub }) => (hub === undefined ? [] : [hub.id]))
  const near = didYouMean(id, names) || didYouMean(id, ids)
  throw new InputError(
    `suite ${id}: no such suite or file${near || `; suites are ${names.join(", ")}`}`,
  )
}

async function opened(suite: Suite, options: LoadOptions): Promise<OpenedSuite> {
  const { name, title, judge = "math" } = suite
  return { name, title, judge, problems: await loadSuite(suite, options) }
}
