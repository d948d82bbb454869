import type { Command } from "commander"
import { type CheckResult, check } from "../check/index.ts"
import { loadConfig } from "../config/load-config.ts"
import { interruptible } from "./shell/interrupt.ts"
import { setOption } from "./shell/option-values.ts"
import { progressLine } from "./shell/progress-line.ts"
import { print, printJson } from "./shell/terminal.ts"

export function command(verb: Command): void {
  verb
    .argument("<config>", "the config file")
    .addOption(setOption())
    .option("--json", "print one JSON document")
    .action(async (path: string, options: { set?: string[]; json?: boolean }) => {
      const config = await loadConfig(path, { set: options.set ?? [] })
      const line = progressLine()
      const result = await interruptible((signal) =>
        check(config, { signal, onProgress: line.show }),
      )
      line.clear()
      if (options.json) printJson(result)
      else print(checkText(result))
      if (!result.passed) process.exitCode = 1
    })
}

const number = (value: number) => (value === 0 ? "0" : value.toExponential(1))

/** The comparisons for people. */
export function checkText({ comparisons, passed }: CheckResult): string {
  const lines = comparisons.flatMap(({ name, compared, difference, usual, verdict, detail }) => [
    `${verdict.padEnd(9)} ${name}: ${difference === null ? detail : `${number(difference)}, usual up to ${number(usual)}`}`,
    `          ${compared}${difference !== null && detail ? ` (${detail})` : ""}`,
  ])
  const last = passed
    ? "nothing unusual"
    : "something is unusual: results of this machine and config are not to be trusted until it is understood"
  return [...lines, "", last].join("\n")
}
