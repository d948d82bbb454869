import { type Command, InvalidArgumentError } from "commander"
import { serveFolder } from "../server/index.ts"
import { openBrowser } from "./shell/browser.ts"
import { interruptible } from "./shell/interrupt.ts"
import {
  collected,
  type DeviceChoice,
  type DtypeChoice,
  deviceOption,
  dtypeOption,
  wholeFrom,
} from "./shell/option-values.ts"
import { outliveReaders } from "./shell/output.ts"
import { progressLine } from "./shell/progress-line.ts"
import { print, printJson, say } from "./shell/terminal.ts"

interface Options {
  readonly port: number
  readonly model: readonly string[]
  readonly device: DeviceChoice
  readonly dtype: DtypeChoice
  readonly threads?: number
  readonly open: boolean
  readonly readOnly?: boolean
  readonly json?: boolean
  readonly allowCode: readonly string[]
  readonly allowHost: readonly string[]
}

/** Not one that other servers of models are found at. */
const PORT = 7860

function portOf(text: string): number {
  const port = Number(text)
  if (/^\d+$/.test(text) && port <= 65535) return port
  throw new InvalidArgumentError("expected a port from 0 (any that is free) to 65535")
}

async function run(dir: string, options: Options, signal: AbortSignal): Promise<void> {
  const { model: models, open, json = false, ...rest } = options
  const { show, clear } = progressLine()
  const told = { signal, onProgress: show, onNotice: say }
  const server = await serveFolder(dir, { ...rest, models, ...told })
  clear()
  const { url, token, port } = server
  if (json) printJson({ url, token, port })
  else print(url)
  if (open && process.stdout.isTTY) openBrowser(url)
  say("Ctrl-C ends the server")
  try {
    await new Promise<void>((ended) => {
      if (signal.aborted) ended()
      signal.addEventListener("abort", () => ended(), { once: true })
    })
  } finally {
    await server.close()
  }
}

export function command(verb: Command): void {
  verb
    .argument("[dir]", "a folder of runs, or a run", ".")
    .option("--port <n>", "of 127.0.0.1; 0: any that is free", portOf, PORT)
    .option(
      "--model <model>",
      "a model folder, adapter, run or hub id to answer for; repeatable",
      collected,
      [] as readonly string[],
    )
    .option(
      "--allow-code <file>",
      "a program or module that a run started from the page may name; repeatable",
      collected,
      [] as readonly string[],
    )
    .option(
      "--allow-host <host>",
      "a server (host, or host:port) that such a run may ask or download from; repeatable",
      collected,
      [] as readonly string[],
    )
    .option("--no-open", "open no browser; none is opened without a terminal either")
    .option("--read-only", "change no run and write no file")
    .option("--json", "print url, token and port as one JSON document, as the first line")
    .addOption(deviceOption())
    .addOption(dtypeOption())
    .option("--threads <count>", "processor threads; all cores without", wholeFrom(1))
    .addHelpText(
      "after",
      "\nThe first line of stdout is the server's URL with a token in its fragment. A program sends\n" +
        "the token as Authorization: Bearer, to /v1 as to OpenAI's API. It listens on this machine alone.\n" +
        "The page shows the runs of the folder; the playground is at /play/.",
    )
    .action((dir: string, options: Options) => {
      outliveReaders()
      return interruptible((signal) => run(dir, options, signal), { stopping: "closing" })
    })
}
