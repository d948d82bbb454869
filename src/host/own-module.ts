import { Console } from "node:console"
import { resolve } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"

/**
 * Loads a TypeScript or JavaScript module of the user's. It runs with the user's rights, and may
 * import `dftune` from anywhere. What it prints while it loads goes to stderr. Throws what the
 * module throws.
 */
export async function importOwnModule(path: string): Promise<Readonly<Record<string, unknown>>> {
  const { createJiti } = await import("jiti")
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js"
  const own = (name: string) => fileURLToPath(new URL(`../${name}.${extension}`, import.meta.url))
  const jiti = createJiti(pathToFileURL(resolve(path)).href, {
    fsCache: false,
    moduleCache: false,
    interopDefault: false,
    alias: { "dftune/objectives": own("objectives/index"), dftune: own("index") },
  })
  return printingToStderr(() => jiti.import(resolve(path)))
}

/** Modules that are loading at the moment. */
let loading = 0
let outer = globalThis.console

/** stdout holds results alone; the console of before is back when the last of several is loaded. */
async function printingToStderr<T>(work: () => Promise<T>): Promise<T> {
  if (loading++ === 0) {
    outer = globalThis.console
    globalThis.console = new Console(process.stderr)
  }
  try {
    return await work()
  } finally {
    if (--loading === 0) globalThis.console = outer
  }
}
