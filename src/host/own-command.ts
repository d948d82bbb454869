import { loaderArguments, modulePath } from "./worker.ts"

/**
 * What `spawn` starts to run `dftune ...args` as another process, from `dist` or from the sources.
 */
export function ownCommand(...args: readonly string[]): [program: string, args: string[]] {
  const main = modulePath(new URL("../commands/main.ts", import.meta.url))
  return [process.execPath, [...loaderArguments(), main, ...args]]
}
