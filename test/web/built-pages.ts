import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { build } from "vite"
import { type StaticServer, serveFolder } from "./static-server.ts"

const CONFIG = fileURLToPath(new URL("../../web/vite.config.ts", import.meta.url))

export interface BuiltPages extends StaticServer {
  readonly folder: string
  /** The playground's worker, from the server's root. */
  readonly worker: string
}

/** Builds the pages into a folder of their own and serves it. */
export async function builtPages(): Promise<BuiltPages> {
  const folder = mkdtempSync(join(tmpdir(), "dftune-web-"))
  await build({ configFile: CONFIG, logLevel: "error", build: { outDir: folder } })
  const worker = readdirSync(join(folder, "assets")).find((name) => name.startsWith("worker-"))
  const server = await serveFolder(folder)
  return {
    folder,
    worker: `/assets/${worker}`,
    url: server.url,
    close() {
      server.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
