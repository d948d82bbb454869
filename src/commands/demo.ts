import { join } from "node:path"
import { pathToFileURL } from "node:url"
import type { Command } from "commander"
import { type DemoDone, demo } from "../demo/demo.ts"
import { rlText } from "../demo/rl-page.ts"
import { demoText } from "../demo/table.ts"
import { commandLine } from "../host/invocation.ts"
import { shortDuration } from "../report/units.ts"
import { interruptible } from "./shell/interrupt.ts"
import { wholeFrom } from "./shell/option-values.ts"
import { outliveReaders } from "./shell/output.ts"
import { progressLine } from "./shell/progress-line.ts"
import { print, printJson, say } from "./shell/terminal.ts"

interface Options {
  readonly out: string
  readonly seeds: number
  readonly quick?: boolean
  readonly rl?: boolean
  readonly json?: boolean
}

export function command(verb: Command): void {
  verb
    .option("--out <dir>", "folder for the data, the runs and report.html", "runs/demo")
    .option(
      "--seeds <n>",
      "fine-tuning runs of each objective (of demo --rl: of each arm)",
      wholeFrom(1),
      3,
    )
    .option("--rl", "longer sums than there are solutions for: SFT, DFT and GRPO")
    .option("--quick", "a few steps and questions only: shows that it works, proves nothing")
    .option("--json", "print the results as one JSON document on stdout")
    .action((options: Options) => {
      outliveReaders()
      return interruptible((signal) => show(options, signal))
    })
}

/** Stages and progress with the time since the start, and the one line that is drawn over. */
function course(signal: AbortSignal) {
  const line = progressLine()
  const began = performance.now()
  const clock = () => shortDuration((performance.now() - began) / 1000).padStart(6)
  const onNotice = (text: string) => {
    line.clear()
    say(`${clock()}  ${text}`)
  }
  const onProgress = (text: string) => line.show(`${clock()}  ${text}`)
  return { line, options: { signal, onNotice, onProgress } }
}

/** What is about to be done. */
function promised({ quick, rl }: Options): string {
  if (quick) {
    const arms = rl ? "SFT, DFT and GRPO," : "SFT and DFT from one start,"
    return `${arms} a few steps only: this shows that it works, and proves nothing.`
  }
  return rl
    ? "Longer sums than there are solutions for, on this machine alone: under ten minutes on two cores."
    : "SFT and DFT from one start, on this machine alone: about three minutes on two cores."
}

async function show(options: Options, signal: AbortSignal): Promise<void> {
  const { line, options: told } = course(signal)
  say(promised(options))
  const done = await demo({ ...options, ...told })
  line.clear()
  if (options.json) printJson(done.record)
  else {
    print(`\nPercent right, with 95 % intervals\n\n${tableOf(done)}\n`)
    for (const conclusion of done.conclusions) print(`- ${conclusion}`)
  }
  say(`\nreport: ${pathToFileURL(done.report).href}`)
  if (options.rl) return
  const chat = commandLine("chat", join(options.out, "noisy-dft-1"))
  say(`next:   ${chat}   (try: calc 12 + 5 - 3)`)
  say(`        ${commandLine("init")}   (a config for your own model and data)`)
}

const tableOf = ({ result, rl }: DemoDone): string =>
  rl ? rlText(rl) : demoText(result, process.stdout.columns ?? 80)
