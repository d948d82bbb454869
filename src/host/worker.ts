import "./no-telemetry.ts"
import { fileURLToPath } from "node:url"
import { Worker, type WorkerOptions } from "node:worker_threads"

const fromSources = import.meta.url.endsWith(".ts")

/**
 * Starts a worker thread on a module of this package, from `dist` or from the TypeScript sources
 * (under vitest and tsx, where the thread needs the loader too).
 *
 *     startWorker(new URL("./prepare-worker.ts", import.meta.url), { workerData })
 *
 * The build rewrites only import specifiers, so a `.ts` name is mapped to `.js` here.
 */
export function startWorker(module: URL, options: WorkerOptions = {}): Worker {
  if (!fromSources) return new Worker(new URL(module.href.replace(/\.ts$/, ".js")), options)
  // a loader named in execArgv does not reach the thread's first module on Node 20
  const script = `import(${JSON.stringify(import.meta.resolve("tsx/esm/api"))}).then(({ register }) => {
    register()
    return import(${JSON.stringify(module.href)})
  })`
  return new Worker(script, { ...options, eval: true })
}

/** What Node is given before the path of a module of this package. */
export const loaderArguments = (): string[] =>
  fromSources ? ["--import", import.meta.resolve("tsx")] : []

/** The path of a module of this package, for `fork` and messages. */
export function modulePath(module: URL): string {
  const path = fileURLToPath(module)
  return fromSources ? path : path.replace(/\.ts$/, ".js")
}
