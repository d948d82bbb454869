import { type Command, Option } from "commander"
import { configJsonSchema, loadConfig } from "../config/index.ts"
import { objectiveWarnings } from "../train/plan-warnings.ts"
import { setOption } from "./shell/option-values.ts"
import { print, sayWarning } from "./shell/terminal.ts"

/** What these print is one JSON document in any case. */
const jsonAnyway = () => new Option("--json", "print one JSON document, which it does anyway")

export function command(verb: Command): void {
  verb
    .command("schema")
    .description("print the JSON Schema of the config, for editors")
    .addOption(jsonAnyway())
    .action(() => print(JSON.stringify(configJsonSchema(), null, 2)))
  verb
    .command("show")
    .description("check a config and print it with every default filled in")
    .argument("<config>", "YAML, JSON or TypeScript")
    .addOption(setOption())
    .addOption(jsonAnyway())
    .action(async (path: string, { set = [] }: { set?: string[] }) => {
      const config = await loadConfig(path, { set })
      for (const { code, message, hint } of objectiveWarnings(config)) {
        sayWarning(code, message, hint)
      }
      print(JSON.stringify(config, null, 2))
    })
}
