/**
 * Stands in for src/host/worker.ts where the build is newer than the sources: threads and processes
 * of the package start from dist, in a third of the time.
 */
import { fileURLToPath } from "node:url"
import { Worker, type WorkerOptions } from "node:worker_threads"
import "../src/host/no-telemetry.ts"

const SOURCES = new URL("../src/", import.meta.url)
const BUILD = new URL("../dist/", import.meta.url)

function built(module: URL): URL {
  const path = module.href.slice(SOURCES.href.length)
  return new URL(path.replace(/\.ts$/, ".js"), BUILD)
}

export const startWorker = (module: URL, options: WorkerOptions = {}): Worker =>
  new Worker(built(module), options)

export const loaderArguments = (): string[] => []

export const modulePath = (module: URL): string => fileURLToPath(built(module))
