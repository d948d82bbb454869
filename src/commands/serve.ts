import { statSync } from "node:fs"
import { type Command, InvalidArgumentError } from "commander"
import { InputError } from "../errors.ts"
import { modelFolders } from "../generate/index.ts"
import { serve } from "../server/index.ts"
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
import { print, progressLine, say } from "./shell/terminal.ts"

interface Options {
  readonly port: number
  readonly model: readonly string[]
  readonly device: DeviceChoice
  readonly dtype: DtypeChoice
  readonly threads?: number
  readonly open: boolean
  readonly readOnly?: boolean
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
  if (!statSync(dir, { throwIfNoEntry: false })?.isDirectory()) {
    throw new InputError(`${dir}: expected a folder of runs, or a run`)
  }
  const { port, model: models, device, dtype, threads, open, readOnly = false } = options
  const { show, clear } = progressLine()
  for (const model of models) await modelFolders(model, { signal, onProgress: show })
  clear()
  const { allowCode, allowHost } = options
  const allowed = { code: allowCode, hosts: allowHost }
  const env = jobEnv(allowHost)
  // From here on no name of a request or of a run's files leads to a download.
  process.env.HF_HUB_OFFLINE = "1"
  const opened = { device, dtype, ...(threads === undefined ? {} : { threads }) }
  const server = await serve({
    dir,
    port,
    models,
    open: opened,
    say,
    readOnly,
    jobEnv: env,
    allowed,
  })
  print(server.url)
  if (open && process.stdout.isTTY) openBrowser(server.url)
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

/** Where hub ids lead. */
const HUB = "https://huggingface.co"

/** Of the runs that the page starts: a hub id is downloaded only from a host that was allowed. */
function jobEnv(hosts: readonly string[]): NodeJS.ProcessEnv {
  const env = { ...process.env }
  const hub = URL.canParse(env.HF_ENDPOINT ?? HUB) ? new URL(env.HF_ENDPOINT ?? HUB).host : HUB
  if (!hosts.includes(hub)) env.HF_HUB_OFFLINE = "1"
  return env
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
