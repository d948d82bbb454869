import type { Command } from "commander"
import { checkPython, choosePython, setupEnvironment } from "../engines/torch/index.ts"
import { plural } from "../plural.ts"
import { interruptible } from "./shell/interrupt.ts"
import { print, printJson } from "./shell/terminal.ts"

interface Options {
  readonly python?: string
  readonly json?: boolean
}

export function command(verb: Command): void {
  verb
    .command("setup")
    .description("make a Python environment with PyTorch for engine: torch, or check a given one")
    .option("--python <path>", "use this interpreter; install nothing, only check it")
    .option("--json", "print one JSON document")
    .action(async ({ python, json }: Options) => {
      const given = python === undefined ? {} : { python }
      const made = await interruptible((signal) => setupEnvironment({ ...given, signal }))
      show(made, json)
    })
  verb
    .command("check")
    .description("say which Python engine: torch would use, and whether it has what it needs")
    .option("--python <path>", "check this interpreter")
    .option("--json", "print one JSON document")
    .action(({ python, json }: Options) =>
      show(checkPython(choosePython(python ?? "python3")), json),
    )
}

function show(found: ReturnType<typeof checkPython>, json: boolean | undefined): void {
  if (json) {
    printJson(found)
    return
  }
  const versions = Object.entries(found.versions).map(([name, version]) => `${name} ${version}`)
  print(`${found.python}\n${versions.join(", ")}, ${found.gpus} ${plural(found.gpus, "GPU")}`)
}
