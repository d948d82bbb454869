import type { Command } from "commander"
import { doctor, type MachineReport } from "../check/machine.ts"
import { colorsFor, print, printJson } from "./shell/terminal.ts"

export function command(verb: Command): void {
  verb
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      "\nPaste its output into a bug report; it holds no paths, names or keys but versions.",
    )
    .action(async ({ json = false }: { json?: boolean }) => {
      const report = await doctor()
      if (json) printJson(report)
      else print(reportText(report))
      if (report.findings.some(({ state }) => state === "problem")) process.exitCode = 1
    })
}

function reportText({ dftune, findings }: MachineReport): string {
  const { bold, green, red, dim } = colorsFor(process.stdout)
  const mark = { ok: green("ok"), absent: dim("--"), problem: red("!!") }
  const lines = findings.map(
    ({ name, state, detail }) => `${mark[state]} ${name.padEnd(14)} ${detail}`,
  )
  return [bold(`dftune ${dftune}`), ...lines].join("\n")
}
