import { Command } from "commander"
import { expect, test } from "vitest"
import { command as generate } from "../../../src/commands/generate.ts"
import { command as init } from "../../../src/commands/init.ts"
import { command as launch } from "../../../src/commands/launch.ts"
import { commandOf, helpPage, printedHelp } from "../../../src/commands/shell/help-pages.ts"

function shown(command: Command, columns: number): string {
  let printed = ""
  command.configureOutput({
    writeOut: (text) => (printed += text),
    getOutHelpWidth: () => columns,
  })
  command.outputHelp()
  return printed
}

test.each([
  ["generate", generate],
  ["init", init],
  ["launch", launch],
])("the help of %s that was written down is its own, at every width", (name, declare) => {
  const program = new Command("dftune")
  const verb = program.command(name).description("what it does")
  declare(verb)
  const page = JSON.parse(JSON.stringify(helpPage(verb)))
  const again = new Command("dftune")
  const rebuilt = commandOf(name, page)
  again.addCommand(rebuilt)
  for (const columns of [40, 80, 200]) {
    expect(shown(rebuilt, columns)).toBe(shown(verb, columns))
    for (const sub of verb.commands) {
      const its = rebuilt.commands.find((other) => other.name() === sub.name())!
      expect(shown(its, columns)).toBe(shown(sub, columns))
    }
  }
})

test("a checkout that is not built answers by the verb itself", async () => {
  expect(await printedHelp({ name: "train", summary: "x" }, ["train", "--help"])).toBe(false)
})
