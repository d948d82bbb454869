/** Command lines that pages and notebooks show, held to the verbs and options that exist. */
import { Command } from "commander"

/** The words after `dftune` of every line of a shell script that calls it. */
export function dftuneCalls(script: string): string[][] {
  return script
    .replaceAll("\\\n", " ")
    .split("\n")
    .flatMap((line) => {
      const call = /^(?:.* \| )?(?:npx |npm run )?dftune (?:-- )?(.*?)(?:\s#.*)?$/.exec(line.trim())
      return call ? [call[1]!.trim().split(/\s+/)] : []
    })
}

/** Options of a call that its verb does not have. */
export async function unknownWords([name, ...rest]: readonly string[]): Promise<string[]> {
  const { command } = (await import(`../../src/commands/${name}.ts`)) as {
    command: (verb: Command) => void
  }
  let verb = new Command(name)
  command(verb)
  const sub = verb.commands.find((each) => each.name() === rest[0])
  if (sub) {
    verb = sub
    rest.shift()
  }
  // What follows a bare -- belongs to another program.
  if (rest.includes("--")) rest.splice(rest.indexOf("--"))
  const known = new Set(verb.options.flatMap(({ long, short }) => [long, short]))
  return rest.filter((word) => /^--?[a-z]/.test(word) && !known.has(word.split("=")[0]!))
}
