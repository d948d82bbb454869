import type { Command } from "commander"
import { init } from "../first-config/init.ts"
import { commandLine } from "../host/invocation.ts"
import { interruptible } from "./shell/interrupt.ts"
import { columnOption } from "./shell/option-values.ts"
import { progressLine } from "./shell/progress-line.ts"
import { questions } from "./shell/questions.ts"
import { print, printJson, say } from "./shell/terminal.ts"

interface Options {
  readonly model?: string
  readonly train?: string
  readonly columns?: Readonly<Record<string, string>>
  readonly objective?: string
  readonly lora?: boolean
  readonly from?: string
  readonly yes?: boolean
  readonly force?: boolean
  readonly json?: boolean
}

export function command(verb: Command): void {
  verb
    .argument("[dir]", "where dftune.yaml is written", ".")
    .option("-y, --yes", "ask nothing: look at the model and the rows, and choose")
    .option("--model <model>", "folder or hub id")
    .option("--train <path>", "training rows")
    .option(
      "--columns <name=column>",
      "what the rows call a part of theirs: question=Q; once for each",
      columnOption,
    )
    .option("--objective <name>", "what is minimised")
    .option("--lora", "train an adapter, not the whole model")
    .option("--no-lora", "train the whole model, whatever it takes")
    .option(
      "--from <file>",
      "translate another trainer's config (YAML, JSON, Python or a command line)",
    )
    .option("--force", "replace a dftune.yaml that is there")
    .option("--json", "ask nothing, and print one JSON document: the file, and what it says")
    .action((dir: string, options: Options) => interruptible((signal) => run(dir, options, signal)))
}

async function run(
  dir: string,
  { yes = false, json = false, ...options }: Options,
  signal: AbortSignal,
): Promise<void> {
  const asks = process.stdin.isTTY === true && process.stderr.isTTY === true && !yes && !json
  const line = progressLine()
  const terminal = asks ? questions() : undefined
  try {
    const ask = terminal && {
      ask: (question: string, fallback: string) => {
        line.clear()
        return terminal.ask(`${question} [${fallback}] `, signal)
      },
    }
    const told = { signal, onProgress: line.show, onNotice: say }
    const { text, ...made } = await init({ ...options, dir, ...told, ...ask })
    line.clear()
    if (made.peer === undefined) for (const one of text.split("\n")) say(`  ${one}`)
    if (json) printJson(made)
    else print(made.file)
    if (made.peer === undefined) {
      const [preview, train] = ["preview", "train"].map((verb) => commandLine(verb, made.file))
      return say(`next: ${preview}, then ${train}`)
    }
    say(`imported from ${options.from} (${made.peer})`)
    const { notes = [] } = made
    if (notes.length > 0) say("did not carry over, or changed on the way:")
    for (const note of notes) say(`  ${note}`)
  } finally {
    line.clear()
    terminal?.close()
  }
}
