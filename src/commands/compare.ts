import type { Command } from "commander"
import { comparedEvaluations, comparedRuns } from "../evaluate/compare.ts"
import { isEvaluation } from "../evaluate/compare-evaluations.ts"
import { comparisonTable as evaluationsTable } from "../evaluate/report.ts"
import { comparison, comparisonTable } from "../report/comparison.ts"
import { print, printJson, say, sayWarned } from "./shell/terminal.ts"

interface Options {
  readonly html?: string
  readonly json?: boolean
}

export function command(verb: Command): void {
  verb
    .argument("<run...>", "run folders, or folders of dftune eval")
    .option("--html <file>", "write curves, histograms, samples and settings as one page")
    .option("--json", "print one JSON document")
    .action(async (paths: string[], { html, json }: Options) => {
      if (paths.some(isEvaluation)) {
        const comparisons = await comparedEvaluations(paths, { html })
        if (json) return printJson({ comparisons })
        for (const { a, b, suites } of comparisons) {
          print(`a: ${a}\nb: ${b}\n${evaluationsTable(suites)}`)
        }
        return
      }
      const runs = await comparedRuns(paths, { html, onWarning: sayWarned })
      if (json) printJson(comparison(runs))
      else print(comparisonTable(runs))
      if (html !== undefined) say(`wrote ${html}`)
    })
}
