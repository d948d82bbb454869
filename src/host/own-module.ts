import { resolve } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"

/**
 * Loads a TypeScript or JavaScript module of the user's. It runs with the user's rights, and may
 * import `dftune` from anywhere. Throws what the module throws.
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
  return jiti.import(resolve(path))
}
