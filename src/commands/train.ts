import type { Command } from "commander"
import type { Config } from "../config/index.ts"
import { loadConfig } from "../config/load-config.ts"
import type { Run } from "../engines/engine.ts"
import { planOf, train } from "../engines/index.ts"
import { terminalOptions, terminalView } from "../report/live-view.ts"
import { interruptible } from "./shell/interrupt.ts"
import { setOption } from "./shell/option-values.ts"
import { print, printJson, progressLine, say, sayWarning } from "./shell/terminal.ts"

interface Options {
  readonly set?: string[]
  readonly resume?: boolean | string
  readonly keepRows?: boolean
  readonly dryRun?: boolean
  readonly json?: boolean
}

export function command(verb: Command): void {
  verb
    .argument("<config>", "dftune.yaml, a .json or a TypeScript module")
    .addOption(setOption())
    .option("--resume [checkpoint]", "continue output_dir's newest checkpoint, or this one")
    .option("--keep-rows", "with --resume: the run's own rows, where this version makes others")
    .option("--dry-run", "find the model, prepare the data, say what would happen, train nothing")
    .option("--json", "print every event as a line of JSON on stdout")
    .action(async (path: string, { set = [], resume, keepRows, dryRun, json }: Options) => {
      const loaded = await loadConfig(path, { set })
      const config: Config = {
        ...loaded,
        ...(resume === undefined ? {} : { resume }),
        ...(keepRows ? { keep_rows: true } : {}),
      }
      await interruptible(
        async (signal) => {
          if (dryRun) await showPlan(config, signal, json === true)
          else {
            const line = progressLine()
            const run = train(config, { signal, onProgress: line.show })
            await followRun(run, json === true)
          }
        },
        { stopping: "stopping with a checkpoint" },
      )
    })
}

/** Shows a run's events until it ends. */
export async function followRun(run: Run, json: boolean): Promise<void> {
  const view = terminalView((text) => process.stderr.write(text), terminalOptions(process.stderr))
  try {
    for await (const event of run) {
      if (json) printJson(event)
      else view.show(event)
    }
  } finally {
    view.close()
  }
  const { reason, path, model } = await run.result
  if (json) return
  if (reason === "interrupted") say(`stopped; go on with --resume (${path})`)
  else print(model ?? path)
}

async function showPlan(config: Config, signal: AbortSignal, json: boolean): Promise<void> {
  const line = progressLine()
  const {
    lines,
    warnings,
    json: document,
  } = await planOf(config, { signal, onProgress: line.show })
  line.clear()
  for (const { code, message, hint } of warnings) sayWarning(code, message, hint)
  if (json) return printJson(document)
  for (const [name, text] of lines) print(`${name.padEnd(12)} ${text}`)
}
