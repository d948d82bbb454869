import { existsSync } from "node:fs"
import { basename } from "node:path"
import { didYouMean } from "../../closest-name.ts"
import { InputError } from "../../errors.ts"
import { aime24 } from "./aime24.ts"
import { amc23 } from "./amc23.ts"
import { gsm8k } from "./gsm8k.ts"
import { math500 } from "./math500.ts"
import { minervaMath } from "./minerva-math.ts"
import { olympiadbench } from "./olympiadbench.ts"
import {
  answerOrBox,
  field,
  type LoadOptions,
  loadSuite,
  type Problem,
  type Suite,
} from "./suite.ts"

export const SUITES: readonly Suite[] = [gsm8k, math500, minervaMath, olympiadbench, aime24, amc23]

/** The sets of the paper's tables. */
export const PAPER_SUITES = ["math500", "minerva_math", "olympiadbench", "aime24", "amc23"] as const

/** A user's own rows: problem, question or prompt; answer, or a solution with a box. */
function fileSuite(path: string): Suite {
  return {
    name: basename(path).replace(/\.[^.]*$/, ""),
    title: path,
    files: [],
    hub: undefined,
    read: (row, where) => ({
      problem: field(row, ["problem", "question", "prompt"], where),
      gold: answerOrBox(row, where),
      ...(typeof row.id === "string" || typeof row.id === "number" ? { id: String(row.id) } : {}),
    }),
  }
}

/**
 * A suite by name, or the path of a file of rows.
 *
 * @throws InputError when there is neither.
 */
export async function openSuite(
  name: string,
  options: LoadOptions,
): Promise<{ readonly name: string; readonly title: string; readonly problems: Problem[] }> {
  const known = SUITES.find((suite) => suite.name === name)
  if (known) return { name, title: known.title, problems: await loadSuite(known, options) }
  if (!existsSync(name)) {
    const names = SUITES.map((suite) => suite.name)
    throw new InputError(
      `--suite ${name}: no such suite or file${didYouMean(name, names) || `; suites are ${names.join(", ")}`}`,
    )
  }
  const own = fileSuite(name)
  const local = { ...own, files: [basename(name)] }
  const folder = name.slice(0, name.length - basename(name).length) || "."
  return {
    name: own.name,
    title: own.title,
    problems: await loadSuite(local, { ...options, folder }),
  }
}
