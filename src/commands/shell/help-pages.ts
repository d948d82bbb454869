/**
 * What `dftune VERB --help` says, written down when dftune is built: a verb's file imports what the
 * verb works with, and loading that takes longer than a question for help may.
 */
import { readFileSync } from "node:fs"
import { Argument, Command, CommanderError, Option } from "commander"

/** A command as its help shows it. */
export interface HelpPage {
  readonly summary: string
  readonly arguments: readonly HelpItem[]
  readonly options: readonly HelpItem[]
  readonly commands: Readonly<Record<string, HelpPage>>
  /** What follows the options, as it is printed. */
  readonly after: string
}

interface HelpItem {
  readonly flags: string
  readonly description: string
  readonly default?: unknown
  readonly choices?: readonly string[]
}

/** Beside main.js, in a build alone. */
const PAGES = new URL("../help-pages.json", import.meta.url)

export function helpPage(command: Command): HelpPage {
  const { summary, printed } = helpOf(command)
  return {
    summary,
    arguments: command.registeredArguments.map((argument) => ({
      flags: argumentFlags(argument),
      description: argument.description,
      ...(argument.defaultValue === undefined ? {} : { default: argument.defaultValue }),
    })),
    options: command.options.map((option) => ({
      flags: option.flags,
      description: option.description,
      ...(option.defaultValue === undefined ? {} : { default: option.defaultValue }),
      ...(option.argChoices ? { choices: option.argChoices } : {}),
    })),
    commands: Object.fromEntries(command.commands.map((sub) => [sub.name(), helpPage(sub)])),
    after: printed.slice(command.helpInformation().length),
  }
}

/** What a command prints when it is asked for help. */
function helpOf(command: Command) {
  let printed = ""
  command.configureOutput({ writeOut: (text) => (printed += text) })
  command.outputHelp()
  return { summary: command.description(), printed }
}

function argumentFlags(argument: Argument): string {
  const shown = `${argument.name()}${argument.variadic ? "..." : ""}`
  return argument.required ? `<${shown}>` : `[${shown}]`
}

/** A command that does nothing and whose help is that of the page. */
export function commandOf(name: string, page: HelpPage): Command {
  const command = new Command(name).description(page.summary).exitOverride()
  for (const { flags, description, default: value } of page.arguments) {
    const argument = new Argument(flags, description)
    if (value !== undefined) argument.default(value)
    command.addArgument(argument)
  }
  for (const { flags, description, default: value, choices } of page.options) {
    const option = new Option(flags, description)
    if (choices) option.choices(choices)
    if (value !== undefined) option.default(value)
    command.addOption(option)
  }
  for (const [sub, its] of Object.entries(page.commands)) command.addCommand(commandOf(sub, its))
  if (page.after !== "") command.addHelpText("after", page.after.replace(/\n$/, ""))
  return command.configureOutput({ writeErr: () => {} })
}

/**
 * Whether the words ask for help, and it was printed. Where they ask for something else, or nothing
 * was written down (a checkout that is not built), the verb itself answers.
 */
export async function printedHelp(
  { name, summary }: { readonly name: string; readonly summary: string },
  words: readonly string[],
): Promise<boolean> {
  const end = words.indexOf("--")
  const own = end < 0 ? words : words.slice(0, end)
  if (!own.includes("--help") && !own.includes("-h")) return false
  const page = pageOf(name)
  if (page === undefined) return false
  const program = new Command("dftune").exitOverride().helpCommand(false)
  program
    .addCommand(commandOf(name, { ...page, summary }))
    .configureHelp({ showGlobalOptions: false })
  try {
    await program.parseAsync([...own], { from: "user" })
    return false
  } catch (error) {
    if (error instanceof CommanderError && error.code === "commander.helpDisplayed") return true
    return false
  }
}

function pageOf(verb: string): HelpPage | undefined {
  try {
    const pages = JSON.parse(readFileSync(PAGES, "utf8")) as Record<string, HelpPage>
    return Object.hasOwn(pages, verb) ? pages[verb] : undefined
  } catch {
    return undefined
  }
}
