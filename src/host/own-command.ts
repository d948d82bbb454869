import { modulePath } from "./worker.ts"

const fromSources = import.meta.url.endsWith(".ts")

/** What `spawn` starts to run `dftune ...args` as another process, from `dist` or from the sources. */
export function ownCommand(...args: readonly string[]): [program: string, args: string[]] {
  const loader = fromSources ? ["--import", import.meta.resolve("tsx")] : []
  const main = modulePath(new URL("../commands/main.ts", import.meta.url))
  return [process.execPath, [...loader, main, ...args]]
}
