import { createReadStream, existsSync, statSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { extname, join, normalize } from "node:path"

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".css": "text/css",
  ".wasm": "application/wasm",
  ".json": "application/json",
}
const ISOLATION = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
}

export interface StaticServer {
  readonly url: string
  close(): void
}

export interface FolderOptions {
  /** Whether to send the headers that isolate a page. */
  readonly isolated?: boolean
  /** Further folders, each below its name. */
  readonly beside?: Readonly<Record<string, string>>
}

/** Serves a folder on this machine as any file host would. */
export async function serveFolder(
  folder: string,
  { isolated = true, beside = {} }: FolderOptions = {},
): Promise<StaticServer> {
  const server = createServer((request, response) => {
    const [path] = (request.url ?? "/").split("?")
    const [, first, rest] = /^\/([^/]+)(\/.*)$/.exec(path!) ?? []
    const own = first !== undefined && Object.hasOwn(beside, first) ? beside[first] : undefined
    const from = own ?? folder
    const file = join(
      from,
      normalize(decodeURIComponent(own === undefined ? path! : rest!)),
      path!.endsWith("/") ? "index.html" : "",
    )
    if (!file.startsWith(from) || !existsSync(file)) {
      response.writeHead(404).end("there is no such file")
      return
    }
    response.writeHead(200, {
      ...(isolated ? ISOLATION : {}),
      "content-type": TYPES[extname(file)] ?? "application/octet-stream",
      "content-length": statSync(file).size,
    })
    createReadStream(file).pipe(response)
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, close: () => server.close() }
}
