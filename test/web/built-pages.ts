import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs"
import { dirname, join } from "node:path"
import { setTimeout } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { BUILT_PAGES } from "../../src/server/page-files.ts"
import { type StaticServer, serveFolder } from "./static-server.ts"

const ROOT = fileURLToPath(new URL("../..", import.meta.url))
const CONFIG = join(ROOT, "web/vite.config.ts")
/** Where tests build them, when `npm run build` has not done so since their sources changed. */
const TESTS_OWN = join(ROOT, "node_modules/.cache/dftune-pages")
const SOURCES = ["web", "src", "package-lock.json"]
/** A build takes seconds; one that is older than this was killed. */
const LOCK_MS = 300_000

export interface BuiltPages extends StaticServer {
  /** Shared by all tests: to be read only. */
  readonly folder: string
  /** The playground's worker, from the server's root. */
  readonly worker: string
}

/** When a file, or the newest in a folder, was written, ms; a folder tells of what was removed. */
function newest(path: string): number {
  const stats = statSync(path)
  if (!stats.isDirectory()) return stats.mtimeMs
  const inside = readdirSync(path).map((name) => newest(join(path, name)))
  return Math.max(stats.mtimeMs, ...inside)
}

/** Whether a folder's pages were built after the last change of what they are made of. */
function isNew(folder: string, changed: number): boolean {
  const page = join(folder, "index.html")
  return existsSync(page) && statSync(page).mtimeMs > changed
}

const foundPages = (changed: number) =>
  [BUILT_PAGES, TESTS_OWN].find((folder) => isNew(folder, changed))

/** The pages of `npm run build` if they are new, else those of one build that all tests share. */
async function pagesFolder(): Promise<string> {
  const changed = Math.max(...SOURCES.map((name) => newest(join(ROOT, name))))
  const lock = `${TESTS_OWN}.lock`
  mkdirSync(dirname(TESTS_OWN), { recursive: true })
  for (;;) {
    const found = foundPages(changed)
    if (found !== undefined) return found
    if (makesFolder(lock)) break
    if (Date.now() - (statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? 0) > LOCK_MS) {
      rmSync(lock, { recursive: true, force: true })
    }
    await setTimeout(200)
  }
  try {
    const found = foundPages(changed) // of another process, which has just let go of the lock
    if (found !== undefined) return found
    const next = `${TESTS_OWN}.next`
    const { build } = await import("vite") // takes a second: only where something is to build
    await build({ configFile: CONFIG, logLevel: "error", build: { outDir: next } })
    rmSync(TESTS_OWN, { recursive: true, force: true })
    renameSync(next, TESTS_OWN)
    return TESTS_OWN
  } finally {
    rmSync(lock, { recursive: true, force: true })
  }
}

/** Whether this process made it, and no other. */
function makesFolder(path: string): boolean {
  try {
    mkdirSync(path)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error
    return false
  }
}

/** Serves the built pages; `beside` are folders that are served by their names with them. */
export async function builtPages(
  beside: Readonly<Record<string, string>> = {},
): Promise<BuiltPages> {
  const folder = await pagesFolder()
  const worker = readdirSync(join(folder, "assets")).find((name) => name.startsWith("worker-"))
  const server = await serveFolder(folder, { beside })
  return { folder, worker: `/assets/${worker}`, url: server.url, close: () => server.close() }
}
