import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs"
import { dirname, join } from "node:path"
import { setTimeout } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { BUILT_VIEW } from "../../src/report/view-files.ts"
import { BUILT_PAGES } from "../../src/server/page-files.ts"
import { newest } from "../newest.ts"
import { type StaticServer, serveFolder } from "./static-server.ts"

const ROOT = fileURLToPath(new URL("../..", import.meta.url))
/** Where tests build them, when `npm run build` has not done so since their sources changed. */
const TESTS_OWN = join(ROOT, "node_modules/.cache/dftune-web")
const SOURCES = ["web", "src", "package-lock.json"]
/** A build takes seconds; one that is older than this was killed. */
const LOCK_MS = 300_000

export interface BuiltPages extends StaticServer {
  /** Shared by all tests: to be read only. */
  readonly folder: string
  /** The playground's worker, from the server's root. */
  readonly worker: string
}

interface Built {
  readonly pages: string
  /** The report's script and style. */
  readonly view: string
}

const PLACES: readonly Built[] = [
  { pages: BUILT_PAGES, view: BUILT_VIEW },
  { pages: join(TESTS_OWN, "pages"), view: join(TESTS_OWN, "view") },
]

/** What was built after the last change of what it is made of. */
function found(changed: number): Built | undefined {
  const isNew = (file: string) => existsSync(file) && statSync(file).mtimeMs > changed
  return PLACES.find(({ pages, view }) =>
    [join(pages, "index.html"), join(view, "view.js")].every(isNew),
  )
}

/** What `npm run build` made if it is new, else one build that all tests share. */
export async function built(): Promise<Built> {
  const changed = Math.max(...SOURCES.map((name) => newest(join(ROOT, name))))
  const lock = `${TESTS_OWN}.lock`
  mkdirSync(dirname(TESTS_OWN), { recursive: true })
  for (;;) {
    const there = found(changed)
    if (there !== undefined) return there
    if (makesFolder(lock)) break
    if (Date.now() - (statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? 0) > LOCK_MS) {
      rmSync(lock, { recursive: true, force: true })
    }
    await setTimeout(200)
  }
  try {
    const there = found(changed) // of another process, which has just let go of the lock
    if (there !== undefined) return there
    const next = `${TESTS_OWN}.next`
    const { build } = await import("vite") // takes a second: only where something is to build
    for (const [config, folder] of [
      ["vite.config.ts", "pages"],
      ["report.config.ts", "view"],
    ] as const) {
      const options = { outDir: join(next, folder) }
      const configFile = join(ROOT, "web", config)
      await build({ configFile, logLevel: "error", build: options })
    }
    rmSync(TESTS_OWN, { recursive: true, force: true })
    renameSync(next, TESTS_OWN)
    return PLACES[1]!
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
  const { pages: folder } = await built()
  const worker = readdirSync(join(folder, "assets")).find((name) => name.startsWith("worker-"))
  const server = await serveFolder(folder, { beside })
  return { folder, worker: `/assets/${worker}`, url: server.url, close: () => server.close() }
}
