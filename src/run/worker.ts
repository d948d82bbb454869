import { fileURLToPath } from "node:url"
import { Worker, type WorkerOptions } from "node:worker_threads"

/**
 * Starts a worker thread on a module of this package, from `dist` or from the TypeScript sources
 * (under vitest and tsx, where the thread needs the loader too).
 *
 *     startWorker(new URL("./prepare-worker.ts", import.meta.url), { workerData })
 *
 * The build rewrites only import specifiers, so a `.ts` name is mapped to `.js` here.
 */
export function startWorker(module: URL, options: WorkerOptions = {}): Worker {
  if (import.meta.url.endsWith(".ts")) {
    return new Worker(module, {
      ...options,
      execArgv: [...(options.execArgv ?? []), "--import", loader()],
    })
  }
  return new Worker(new URL(module.href.replace(/\.ts$/, ".js")), options)
}

/** tsx resolved from here: the working directory may be anywhere. */
function loader(): string {
  return import.meta.resolve("tsx")
}

/** The path of a module of this package, for `fork` and messages. */
export function modulePath(module: URL): string {
  const path = fileURLToPath(module)
  return import.meta.url.endsWith(".ts") ? path : path.replace(/\.ts$/, ".js")
}
