import { Console } from "node:console"
import { resolve } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"

/**
 * Loads a TypeScript or JavaScript module of the user's. It runs with the user's rights, and may
 * import `dftune` from anywhere. What it prints while it loads goes to stderr. Throws what the module throws.
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
  const before = globalThis.console
  globalThis.console = new Console(process.stderr) // stdout holds results alone
  try {
    return await jiti.import(resolve(path))
  } finally {
    globalThis.console = before
  }
}
