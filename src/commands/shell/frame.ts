import { Command, CommanderError } from "commander"
import { didYouMean } from "../../closest-name.ts"
import { InputError } from "../../errors.ts"
import { fileSystemError } from "../../formats/atomic.ts"
import { programName } from "../../host/invocation.ts"
import { shellWord } from "../../host/shell-word.ts"
import { version } from "../../host/version.ts"
import { inAnyOrder, strayedSettings } from "./any-order.ts"
import { printedHelp } from "./help-pages.ts"
import { wasInterrupted } from "./interrupt.ts"
import { flushed, outputFailed, watchOutputs } from "./output.ts"
import { say, sayError } from "./terminal.ts"

export interface Verb {
  readonly name: string
  /** One line of `dftune --help`. */
  readonly summary: string
  readonly load: () => Promise<{ readonly command: (verb: Command) => void }>
}

const EXIT = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const

/**
 * Runs one command line and ends the process: 0 done, 1 failed, 2 the command, config or data is
 * wrong, 130 interrupted. Only the verb that is asked for is loaded.
 */
export async function runCli(verbs: readonly Verb[], args: readonly string[]): Promise<never> {
  watchOutputs()
  let code: number
  try {
    code = await run(verbs, args)
  } catch (error) {
    code = reportError(error)
  }
  await Promise.all([flushed(process.stdout), flushed(process.stderr)])
  process.exit(code === EXIT.done && outputFailed() ? EXIT.failed : code)
}

async function run(verbs: readonly Verb[], args: readonly string[]): Promise<number> {
  const words = args[0] === "help" && args[1] !== undefined ? [args[1], "--help"] : args
  const asked = words.find((word) => !word.startsWith("-"))
  const verb = verbs.find(({ name }) => name === asked)
  if (verb && (await printedHelp(verb, words))) return EXIT.done
  const program = new Command("dftune")
    .description("A language-model fine-tuner built around Dynamic Fine-Tuning")
    .version(version(), "-v, --version")
    .showSuggestionAfterError()
    .configureHelp({ showGlobalOptions: false })
    .exitOverride()
  program.helpCommand(false)
  for (const { name, summary, load } of verbs) {
    const verb = program
      .command(name)
      .description(summary)
      .exitOverride()
      .showSuggestionAfterError()
    if (name === asked) (await load()).command(verb)
  }
  if (asked !== undefined && !verbs.some(({ name }) => name === asked)) {
    const names = verbs.map(({ name }) => name)
    throw new InputError(
      `unknown command "${asked}"${didYouMean(asked, names) || `; expected one of ${names.join(", ")}`}`,
    )
  }
  await program.parseAsync(inAnyOrder(words), { from: "user" }).catch((error: unknown) => {
    const takes = program.commands.find((each) => each.name() === asked)?.options ?? []
    const strayed = takes.some(({ long }) => long === "--set") ? strayedSettings(words) : []
    if (strayed.length > 0 && codeOf(error) === "commander.excessArguments")
      sayError(`settings stand behind --set: --set ${strayed.map(shellWord).join(" ")}`)
    if (codeOf(error) === "commander.missingArgument") say(usageOf(program, words))
    throw error
  })
  return wasInterrupted() ? EXIT.interrupted : Number(process.exitCode ?? EXIT.done)
}

/** Of the verb, or its own verb, that the words name. */
function usageOf(program: Command, words: readonly string[]): string {
  let found = program
  for (const word of words) {
    found = found.commands.find((each) => each.name() === word) ?? found
  }
  const names = found.parent === program ? [found] : [found.parent!, found]
  const name = names.map((each) => each.name()).join(" ")
  return `usage: ${programName()} ${name} ${found.usage()}`
}

const codeOf = (error: unknown) => (error instanceof CommanderError ? error.code : undefined)

function reportError(error: unknown): number {
  if (error instanceof CommanderError) {
    // commander has printed it; its own exit code for a wrong command line is 1
    return error.exitCode === 0 ? EXIT.done : EXIT.usage
  }
  if (error instanceof InputError) {
    sayError(error.message)
    return EXIT.usage
  }
  if (wasInterrupted() && error instanceof Error && error.name === "AbortError") {
    say("interrupted")
    return EXIT.interrupted
  }
  const refused = fileSystemError(error)
  if (refused) {
    sayError(refused.message)
    return EXIT.usage
  }
  sayError(error instanceof Error ? (error.stack ?? error.message) : String(error))
  return EXIT.failed
}
