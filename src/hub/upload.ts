import { stat } from "node:fs/promises"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { commitIter, createRepo, HubApiError, listFiles, modelInfo } from "@huggingface/hub"
import { InputError } from "../errors.ts"
import { fileHash } from "../formats/file-hash.ts"
import { explain } from "./explain.ts"
import { type HubProgress, signedRequester } from "./hub.ts"
import { isHubId } from "./names.ts"
import { shownEndpoint } from "./requests.ts"

export interface UploadOptions {
  /** owner/name of a model; made when it is not there. */
  readonly repo: string
  readonly folder: string
  /** Paths below the folder. */
  readonly files: readonly string[]
  readonly message: string
  /** Of a repository that is made; one that is there stays as it is. */
  readonly isPublic: boolean
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: HubProgress) => void
}

export interface Uploaded {
  readonly url: string
  readonly commit: string
  readonly isNew: boolean
}

/**
 * Sends files to a model repository of the hub as one commit, then compares what the hub lists.
 * Large files that the hub already has are not sent again, so that an interrupted upload goes on.
 *
 * @throws InputError without a token, where the hub refuses, and where it has something else
 */
export async function uploadFolder(options: UploadOptions): Promise<Uploaded> {
  const { repo: name, folder, files, message, isPublic, signal, onProgress } = options
  if (!isHubId(name) || !name.includes("/")) {
    throw new InputError(`--repo: expected owner/name on the hub, got "${name}"`)
  }
  const repo = { type: "model", name } as const
  const request = await signedRequester(signal ? { signal } : {})
  const { accessToken } = request
  if (accessToken === undefined) {
    throw new InputError("uploading needs a token that may write: set HF_TOKEN in the environment")
  }
  try {
    const isNew = !(await isThere(name, request))
    const asking = { ...request, accessToken }
    if (isNew) await createRepo({ repo, visibility: isPublic ? "public" : "private", ...asking })
    const operations = files.map((path) => ({
      operation: "addOrUpdate" as const,
      path,
      content: pathToFileURL(join(folder, path)),
    }))
    const sizes = new Map<string, number>()
    for (const path of files) sizes.set(path, (await stat(join(folder, path))).size)
    const going = commitIter({
      ...{ repo, operations, title: message },
      ...asking,
      // a large file takes its time: no answer is waited for by the clock
      fetch: (url, init) => (init?.method === "PUT" ? fetch(url, init) : request.fetch(url, init)),
      ...(signal ? { abortSignal: signal } : {}),
    })
    for (;;) {
      const { done, value } = await going.next()
      if (done) {
        if (!value) throw new InputError(`${name}: the hub named no commit`)
        await checkStored(options, asking)
        return { url: `${shownEndpoint()}/${name}`, commit: value.commit.oid, isNew }
      }
      if (value.event !== "fileProgress" || value.state !== "uploading") continue
      const totalBytes = sizes.get(value.path)!
      onProgress?.({ file: value.path, bytes: Math.round(value.progress * totalBytes), totalBytes })
    }
  } catch (error) {
    throw explain(error, repo, "main")
  }
}

type Request = Awaited<ReturnType<typeof signedRequester>>

async function isThere(name: string, request: Request): Promise<boolean> {
  try {
    await modelInfo({ name, ...request })
    return true
  } catch (error) {
    if (error instanceof HubApiError && error.statusCode === 404) return false
    throw error
  }
}

/** What the hub lists now is what was sent: sizes, and of large files their hashes. */
async function checkStored(
  { repo: name, folder, files }: UploadOptions,
  request: Request,
): Promise<void> {
  const stored = new Map<string, { readonly size: number; readonly sha256: string | undefined }>()
  const repo = { type: "model", name } as const
  for await (const { path, size, lfs } of listFiles({ repo, recursive: true, ...request })) {
    stored.set(path, { size, sha256: lfs?.oid })
  }
  for (const path of files) {
    const { size, sha256 } = stored.get(path) ?? {}
    const own = (await stat(join(folder, path))).size
    const same =
      size === own && (sha256 === undefined || sha256 === (await fileHash(join(folder, path))))
    if (!same) {
      throw new InputError(
        `${name}: the hub has ${path} with ${size ?? "no"} bytes, and ${own} were sent; run the same command again`,
      )
    }
  }
}
