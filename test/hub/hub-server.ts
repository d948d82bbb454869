import { createHash } from "node:crypto"
import { createServer, type Server, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"

export interface HubRepo {
  readonly files: Readonly<Record<string, Buffer>>
  readonly gated?: boolean
}

/** What a test server has seen and how it misbehaves. */
export interface HubState {
  readonly repos: Readonly<Record<string, HubRepo>>
  /** Paths asked for, with their Range. */
  readonly requests: string[]
  /** Ends a file's transfer after this many bytes, once. */
  cutAfter: number | undefined
  /** Answers with these statuses first, one each. */
  busy?: number[]
  /** Names a next page of its lists there. */
  nextPage?: string | undefined
  /** In place of every answer of the API. */
  answer?: string | undefined
}

export const COMMIT = "0123456789abcdef0123456789abcdef01234567"
const hash = (algorithm: string, data: Buffer, before = "") =>
  createHash(algorithm).update(before).update(data).digest("hex")
/** Git's hash of small files, the SHA-256 of large ones. */
const etag = (data: Buffer) =>
  data.length < 1000 ? hash("sha1", data, `blob ${data.length}\0`) : hash("sha256", data)

/** A server on the loopback that speaks the part of the hub's protocol that downloads use. */
export async function hubServer(state: HubState): Promise<{ url: string; server: Server }> {
  const server = createServer((request, response) => {
    const url = decodeURIComponent(request.url ?? "")
    const range = request.headers.range
    state.requests.push(`${url}${range ? ` ${range}` : ""}`)
    const api = /^\/api\/(models|datasets)\/([^/]+\/[^/]+)\/(revision|tree)\/(.+?)(?:\?.*)?$/.exec(
      url,
    )
    const file = /^\/(?:datasets\/)?([^/]+\/[^/]+)\/resolve\/(.+?)\/([^/]+(?:\/[^/]+)*)$/.exec(url)
    const name = api?.[2] ?? file?.[1]
    const repo = name === undefined ? undefined : state.repos[name]
    if (!repo) return refuse(response, 404, "RepoNotFound")
    const status = state.busy?.shift()
    if (status !== undefined) return refuse(response, status, "Busy")
    if (api && state.answer !== undefined) {
      response.writeHead(200, { "content-type": "text/html" })
      return response.end(state.answer)
    }
    if (repo.gated && request.headers.authorization !== "Bearer hf_good") {
      return refuse(response, 401, "GatedRepo")
    }
    if (api?.[3] === "revision") {
      return json(response, {
        id: name,
        _id: "1",
        sha: COMMIT,
        private: false,
        likes: 0,
        downloads: 0,
        gated: false,
        siblings: Object.entries(repo.files).map(([rfilename, { length }]) => ({
          rfilename,
          size: length,
        })),
      })
    }
    if (api?.[3] === "tree") {
      if (state.nextPage) response.setHeader("link", `<${state.nextPage}>; rel="next"`)
      return json(
        response,
        Object.entries(repo.files).map(([path, data]) => {
          return { type: "file", path, size: data.length, oid: etag(data) }
        }),
      )
    }
    const path = url.split(`/resolve/`)[1]!.replace(/^(?:refs\/convert\/parquet|[^/]+)\//, "")
    const data = repo.files[path]
    if (!data) return refuse(response, 404, "EntryNotFound")
    sendFile(response, data, range, state)
  })
  server.keepAliveTimeout = 60_000 // a busy machine is slow to send the next request
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, server }
}

function sendFile(
  response: ServerResponse,
  data: Buffer,
  range: string | undefined,
  state: HubState,
) {
  const [, from = "0", to = ""] = /^bytes=(\d+)-(\d*)$/.exec(range ?? "") ?? []
  const begin = Number(from)
  const end = to === "" ? data.length : Math.min(data.length, Number(to) + 1)
  const part = data.subarray(begin, end)
  response.writeHead(range ? 206 : 200, {
    etag: `"${etag(data)}"`,
    "x-repo-commit": COMMIT,
    "content-length": part.length,
    "accept-ranges": "bytes",
    ...(range ? { "content-range": `bytes ${begin}-${end - 1}/${data.length}` } : {}),
  })
  if (state.cutAfter !== undefined && part.length > state.cutAfter) {
    response.write(part.subarray(0, state.cutAfter), () => response.destroy())
    state.cutAfter = undefined
    return
  }
  response.end(part)
}

function json(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { "content-type": "application/json" })
  response.end(JSON.stringify(value))
}

function refuse(response: ServerResponse, status: number, code: string): void {
  response.writeHead(status, { "content-type": "application/json", "x-error-code": code })
  response.end(JSON.stringify({ error: code }))
}
