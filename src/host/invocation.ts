/** How the user called this program, for commands that can be copied from its output. */
import { shellWord } from "./shell-word.ts"

/**
 * `dftune`; in a clone or a project `npx dftune`, where no `dftune` is on the PATH; `npm run dftune
 * --` for who called it so, in a clone that need not be built.
 */
export function programName(env: NodeJS.ProcessEnv = process.env): string {
  if (env.npm_lifecycle_event === "dftune") return "npm run dftune --"
  return env.npm_command === undefined ? "dftune" : "npx dftune"
}

/** A command line to be copied. */
export function commandLine(...words: readonly string[]): string {
  return [programName(), ...words.map(shellWord)].join(" ")
}
