import type { Command } from "commander"
import { configJsonSchema, loadConfig } from "../config/index.ts"
import { setOption } from "./shell/option-values.ts"
import { print } from "./shell/terminal.ts"

export function command(verb: Command): void {
  verb
    .command("schema")
    .description("print the JSON Schema of the config, for editors")
    .action(() => print(JSON.stringify(configJsonSchema(), null, 2)))
  verb
    .command("show")
    .description("check a config and print it with every default filled in")
    .argument("<config>", "YAML, JSON or TypeScript")
    .addOption(setOption())
    .action(async (path: string, { set = [] }: { set?: string[] }) => {
      print(JSON.stringify(await loadConfig(path, { set }), null, 2))
    })
}
