/** A server on the loopback that speaks the part of the hub's protocol that uploads use. */
import { createHash } from "node:crypto"
import { createServer, type IncomingMessage, type Server } from "node:http"
import type { AddressInfo } from "node:net"

interface Repo {
  readonly visibility: string
  files: ReadonlyMap<string, Buffer>
}

export interface UploadState {
  readonly repos: Map<string, Repo>
  /** Large files by their SHA-256, whether a commit names them or not. */
  readonly stored: Map<string, Buffer>
  /** "POST /api/repos/create", and what it was sent. */
  readonly requests: { readonly line: string; readonly body: string; readonly token: string }[]
  /** Refuses the commit, once. */
  refuseCommit?: boolean
  /** Lists a file as it is not. */
  loses?: string
}

const sha256 = (data: Buffer) => createHash("sha256").update(data).digest("hex")
const isLarge = (path: string) => path.endsWith(".safetensors")

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = []
  for await (const part of request) parts.push(part as Buffer)
  return Buffer.concat(parts)
}

export async function uploadServer(state: UploadState): Promise<{ url: string; server: Server }> {
  let origin = ""
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(request.url!.split("?")[0]!)
    const body = await bodyOf(request)
    const [line, text] = [`${request.method} ${path}`, body.toString("utf8")]
    const token = request.headers.authorization ?? ""
    state.requests.push({ line, body: line.startsWith("PUT") ? "" : text, token })
    const answer = (value: unknown, status = 200) => {
      response.writeHead(status, { "content-type": "application/json" })
      response.end(JSON.stringify(value))
    }
    if (path.startsWith("/lfs/")) {
      state.stored.set(path.slice("/lfs/".length), body)
      return answer({})
    }
    if (token !== "Bearer hf_good") return answer({ error: "no" }, 401)
    if (path === "/api/repos/create") {
      const { name, organization, visibility } = JSON.parse(text)
      state.repos.set(`${organization}/${name}`, { visibility, files: new Map() })
      return answer({ url: `${origin}/${organization}/${name}`, id: "1" })
    }
    const name = /^\/(?:api\/models\/)?([^/]+\/[^/.]+)/.exec(path)?.[1] ?? ""
    const repo = state.repos.get(name)
    if (!repo) return answer({ error: "Repository not found" }, 404)
    if (path.includes("/preupload/")) {
      const files = (JSON.parse(text).files as { path: string }[]).map(({ path }) => {
        return { path, uploadMode: isLarge(path) ? "lfs" : "regular", shouldIgnore: false }
      })
      return answer({ files })
    }
    if (path.endsWith("/info/lfs/objects/batch")) {
      const objects = (JSON.parse(text).objects as { oid: string; size: number }[]).map(
        (object) => {
          const upload = { href: `${origin}/lfs/${object.oid}`, header: {} }
          return state.stored.has(object.oid) ? object : { ...object, actions: { upload } }
        },
      )
      return answer({ transfer: "basic", objects })
    }
    if (path.includes("/commit/")) {
      if (state.refuseCommit) {
        state.refuseCommit = false
        return answer({ error: "not now" }, 400)
      }
      const files = new Map(repo.files)
      for (const { key, value } of text.split("\n").map((one) => JSON.parse(one))) {
        if (key === "file") files.set(value.path, Buffer.from(value.content, value.encoding))
        if (key === "lfsFile") files.set(value.path, state.stored.get(value.oid)!)
      }
      repo.files = files
      return answer({ success: true, commitOid: "c".repeat(40), commitUrl: `${origin}/${name}` })
    }
    if (path.includes("/tree/")) {
      return answer(
        [...repo.files].map(([path, data]) => ({
          ...{ type: "file", path, oid: "0", size: path === state.loses ? 0 : data.length },
          ...(isLarge(path)
            ? { lfs: { oid: sha256(data), size: data.length, pointerSize: 1 } }
            : {}),
        })),
      )
    }
    answer({ id: name, _id: "1", private: true, likes: 0, downloads: 0, gated: false })
  })
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done))
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return { url: origin, server }
}
