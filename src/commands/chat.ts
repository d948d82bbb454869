import { createInterface, type Interface } from "node:readline"
import type { Command } from "commander"
import { mainKind, typedPrompt } from "../data/layout.ts"
import { InputError } from "../errors.ts"
import {
  type Asking,
  askingOf,
  askingWarning,
  type Generator,
  openGenerator,
  type PromptMessage,
  promptOf,
  templateFile,
} from "../generate/index.ts"
import { printable } from "../host/printable.ts"
import { interruptible } from "./shell/interrupt.ts"
import { modelOf } from "./shell/model-argument.ts"
import {
  baseOption,
  type DeviceChoice,
  type DtypeChoice,
  deviceOption,
  dtypeOption,
  numberIn,
  wholeFrom,
} from "./shell/option-values.ts"
import {
  colorsFor,
  printJson,
  progressLine,
  say,
  sayWarning,
  terminalText,
} from "./shell/terminal.ts"

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

interface Talking {
  readonly generator: Generator
  readonly asking: Asking
  readonly way: Way
}

/** What the user and the model have said so far. */
interface Conversation {
  messages: PromptMessage[]
  /** Without a template: the text so far. */
  text: string
  turns: number
}

const opening = ({ system }: Options): Conversation => ({
  messages: system === undefined ? [] : [{ role: "system", content: system }],
  text: "",
  turns: 0,
})

/** How a line becomes a prompt: a turn of the conversation, the text so far, or a question by itself. */
type Way = "turns" | "text" | "questions"

/** As the model's rows were laid out, unless the user says otherwise. */
function wayOf({ raw, chat, template }: Options, asking: Asking): Way {
  if (raw) return "text"
  const main = mainKind(asking.trained)
  const single = main === "plain" || main === "question"
  return single && !chat && template === undefined ? "questions" : "turns"
}

/** Streams the answer to stdout; an answer that was stopped stays in the conversation as it is. */
async function answer(
  { generator, asking, way }: Talking,
  conversation: Conversation,
  said: string,
  options: Options,
  signal: AbortSignal,
): Promise<void> {
  const { temperature, topK, topP, maxNewTokens, seed, system, json } = options
  const alone = {
    ...typedPrompt(said, asking.trained),
    ...(system === undefined ? {} : { system }),
  }
  const messages = [...conversation.messages, { role: "user", content: said }]
  const text = conversation.text + said
  const request = {
    prompt: { text, turns: messages, questions: promptOf(alone, asking) }[way],
    n: 1,
    temperature,
    maxNewTokens,
    seed: seed + conversation.turns,
    ...(topK === undefined ? {} : { topK }),
    ...(topP === undefined ? {} : { topP }),
  }
  let shown = ""
  let ended = "stopped"
  const onToken = ({ text: part }: { readonly text: string }) => {
    shown += part
    if (!json) process.stdout.write(process.stdout.isTTY ? printable(part) : part)
  }
  try {
    for await (const sample of generator.sample([request], { signal, onToken })) {
      ended = sample.finishReason
    }
  } catch (error) {
    if (!signal.aborted) throw error
  }
  if (json) printJson({ prompt: said, completion: shown, finish_reason: ended })
  else process.stdout.write("\n")
  if (signal.aborted) say("(stopped)")
  if (ended === "length") say(`(cut off at ${maxNewTokens} tokens: --max-new-tokens)`)
  conversation.messages = [...messages, { role: "assistant", content: shown }]
  conversation.text = text + shown
  conversation.turns++
}

/** The lines typed, and what Ctrl-C means at each moment. */
function talk(talking: Talking, options: Options): Promise<void> {
  const { bold } = colorsFor(process.stderr)
  const terminal = process.stdin.isTTY === true
  const lines: Interface = createInterface({
    input: process.stdin,
    ...(terminal ? { output: process.stderr, prompt: terminalText(bold("> ")) } : {}),
  })
  let conversation = opening(options)
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
      conversation = opening(options)
      say("(the conversation begins anew)")
    } else if (said.startsWith("/")) say(HELP)
    else if (said !== "") {
      stopAnswer = new AbortController()
      const typed = talking.way === "text" ? line : said
      await answer(talking, conversation, typed, options, stopAnswer.signal)
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

async function chat(word: string, options: Options): Promise<void> {
  const model = await modelOf(word)
  const { show, clear } = progressLine()
  const template = options.template ?? (options.chat ? "true" : undefined)
  const asking = await askingOf(model, { onProgress: show, template, base: options.base })
  const way = wayOf(options, asking)
  const generator = await interruptible((signal) =>
    openGenerator(model, {
      continues: true,
      ...templateFile(options.template),
      device: options.device,
      base: options.base,
      dtype: options.dtype,
      signal,
      onProgress: show,
      ...(options.threads === undefined ? {} : { threads: options.threads }),
    }),
  )
  clear()
  try {
    if (way === "turns" && generator.open.template === null) {
      throw new InputError(
        `${generator.open.folder}: this model has no chat template; --raw continues plain text`,
      )
    }
    if (process.stdin.isTTY) say(`${generator.open.folder}\n${HELP}`)
    if (way === "questions") say(ALONE)
    const asked =
      way === "turns" ? { prompt: [{ role: "user", content: "..." }] } : { prompt: "..." }
    const warning = way === "questions" ? undefined : askingWarning(asked, asking)
    if (warning) sayWarning("layout", warning.message, warning.hint)
    await talk({ generator, asking, way }, options)
  } finally {
    await generator.close()
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
    .action(chat)
}
