import { fileURLToPath } from "node:url"
import { BUILT, isBuilt } from "./built.ts"

/**
 * What Node is given to run `dftune`: the build where it is newer than the sources, which starts
 * three times as fast, else the sources.
 */
export const DFTUNE: readonly string[] = isBuilt()
  ? [BUILT]
  : [
      "--import",
      import.meta.resolve("tsx"),
      fileURLToPath(new URL("../src/commands/main.ts", import.meta.url)),
    ]

/** The same for `spawn`, as `ownCommand` has it. */
export const dftuneCommand = (...args: readonly string[]): [program: string, args: string[]] => [
  process.execPath,
  [...DFTUNE, ...args],
]
