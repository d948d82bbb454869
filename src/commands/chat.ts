import { createInterface, type Interface } from "node:readline"
import type { Command } from "commander"
import { type Chat, chat } from "../generate/chat.ts"
import { printable } from "../host/printable.ts"
import { interruptible } from "./shell/interrupt.ts"
import {
  baseOption,
  type DeviceChoice,
  type DtypeChoice,
  deviceOption,
  dtypeOption,
  numberIn,
  wholeFrom,
} from "./shell/option-values.ts"
import { progressLine } from "./shell/progress-line.ts"
import { colorsFor, printJson, say, sayWarned, terminalText } from "./shell/terminal.ts"

interface Options {
  readonly system?: string
  readonly raw?: boolean
  readonly chat?: boolean
  readonly template?: string
  readonly temperature: number
  readonly topP?: number
  readonly topK?: number
  readonly maxNewTokens: number
  readonly seed: number
  readonly base?: string
  readonly device: DeviceChoice
  readonly dtype: DtypeChoice
  readonly threads?: number
  readonly json?: boolean
}

const ALONE =
  "(this model was trained on questions without a chat template: each line is asked by itself; --chat talks through the template)"
const HELP = "/reset forgets the conversation, /exit ends it; Ctrl-C stops an answer"

/** Streams the answer to stdout. */
async function answer(
  open: Chat,
  said: string,
  { json, maxNewTokens }: Options,
  signal: AbortSignal,
): Promise<void> {
  const onText = (piece: string) => {
    if (!json) process.stdout.write(process.stdout.isTTY ? printable(piece) : piece)
  }
  const given = await open.ask(said, { signal, onText })
  if (json) printJson(given)
  else process.stdout.write("\n")
  if (signal.aborted) say("(stopped)")
  if (given.finish_reason === "length") {
    say(`(cut off at ${maxNewTokens} tokens: --max-new-tokens)`)
  }
}

/** The lines typed, and what Ctrl-C means at each moment. */
function talk(open: Chat, options: Options): Promise<void> {
  const { bold } = colorsFor(process.stderr)
  const terminal = process.stdin.isTTY === true
  const lines: Interface = createInterface({
    input: process.stdin,
    ...(terminal ? { output: process.stderr, prompt: terminalText(bold("> ")) } : {}),
  })
  let stopAnswer: AbortController | undefined
  let leaving = false
  lines.on("SIGINT", () => {
    if (stopAnswer && !stopAnswer.signal.aborted) stopAnswer.abort()
    else if (leaving || stopAnswer) lines.close()
    else {
      leaving = true
      say("\nCtrl-C again or /exit ends the conversation")
      lines.prompt()
    }
  })
  const turn = async (line: string): Promise<boolean> => {
    leaving = false
    const said = line.trim()
    if (said === "/exit" || said === "/quit") return false
    if (said === "/reset") {
      open.reset()
      say("(the conversation begins anew)")
    } else if (said.startsWith("/")) say(HELP)
    else if (said !== "") {
      stopAnswer = new AbortController()
      const typed = open.way === "text" ? line : said
      await answer(open, typed, options, stopAnswer.signal)
      stopAnswer = undefined
    }
    return true
  }
  const loop = async (): Promise<void> => {
    if (terminal) lines.prompt()
    for await (const line of lines) {
      if (!(await turn(line))) break
      if (terminal) lines.prompt()
    }
    lines.close()
  }
  return loop()
}

async function run(word: string, options: Options): Promise<void> {
  const { show, clear } = progressLine()
  const told = { onProgress: show, onNotice: say, onWarning: sayWarned }
  const open = await interruptible((signal) => chat(word, { ...options, ...told, signal }))
  clear()
  try {
    if (process.stdin.isTTY) say(`${open.folder}\n${HELP}`)
    if (open.way === "questions") say(ALONE)
    await talk(open, options)
  } finally {
    await open.close()
  }
}

export function command(verb: Command): void {
  verb
    .argument("<model>", "model folder, adapter folder, run folder, config file or hub id")
    .option("--system <text>", "what the model is told before the conversation")
    .option("--raw", "no template: the model continues the text as it stands")
    .option("--chat", "through the chat template, however the model was trained")
    .option("--template <file>", "a .jinja file in place of the model's chat template")
    .option("--temperature <t>", "0 is greedy", numberIn(0, 100), 0.7)
    .option("--top-p <p>", "only the most likely tokens that add up to p", numberIn(1e-9, 1))
    .option("--top-k <k>", "only the k most likely tokens", wholeFrom(1))
    .option("--max-new-tokens <count>", "longest answer", wholeFrom(1), 1024)
    .option("--seed <seed>", "answer i is drawn with SEED + i", wholeFrom(0), 0)
    .addOption(baseOption())
    .addOption(deviceOption())
    .addOption(dtypeOption())
    .option("--threads <count>", "processor threads; all cores without", wholeFrom(1))
    .option("--json", "print each answer as a line of JSON: prompt, completion, finish_reason")
    .addHelpText("after", `\n${HELP}.`)
    .action(run)
}
