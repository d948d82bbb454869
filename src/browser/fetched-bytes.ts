import { InputError } from "../errors.ts"

/** How far a download is. */
export type DownloadProgress = (file: string, bytes: number, total: number | undefined) => void

export interface FetchOptions {
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((bytes: number, total: number | undefined) => void) | undefined
}

/** What a server sends of a file. */
export interface Incoming {
  /** undefined where the server does not say. */
  readonly bytes: number | undefined
  /** The file's bytes in order; ends with an InputError where they stop too soon. */
  pieces(): AsyncGenerator<Uint8Array>
}

/**
 * Begins to fetch a file; undefined when the server has none of this name.
 *
 * @throws InputError naming the address, when the server cannot be reached or refuses
 */
export async function incoming(
  url: string,
  { signal, onProgress }: FetchOptions = {},
): Promise<Incoming | undefined> {
  const response = await fetch(url, signal ? { signal } : {}).catch((error: unknown) => {
    signal?.throwIfAborted()
    throw new InputError(`${url}: could not be fetched (${(error as Error).message})`)
  })
  // A server of single pages answers what it does not have with its page.
  const isPage = response.headers.get("content-type")?.startsWith("text/html") ?? false
  if (!response.ok || isPage) {
    await response.body?.cancel()
    if (response.status === 404 || isPage) return undefined
    throw new InputError(`${url}: the server answered ${response.status}`)
  }
  const length = Number(response.headers.get("content-length"))
  // With a content encoding the length is that of the packed bytes.
  const total = response.headers.get("content-encoding") || !length ? undefined : length
  return { bytes: total, pieces: () => received(url, response, total, { signal, onProgress }) }
}

async function* received(
  url: string,
  response: Response,
  total: number | undefined,
  { signal, onProgress }: FetchOptions,
): AsyncGenerator<Uint8Array> {
  let bytes = 0
  const reader = response.body!.getReader()
  const far = () => `${bytes}${total === undefined ? "" : ` of ${total}`} bytes`
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error: unknown) => {
        signal?.throwIfAborted()
        throw new InputError(`${url}: broke off after ${far()} (${(error as Error).message})`)
      })
      if (done) break
      bytes += value.length
      onProgress?.(bytes, total)
      yield value
    }
  } finally {
    await reader.cancel().catch(() => {}) // it broke off already
  }
  if (total !== undefined && bytes !== total) {
    throw new InputError(`${url}: broke off after ${far()}`)
  }
}

/** A whole file in memory. */
export async function wholeBytes({ bytes, pieces }: Incoming): Promise<Uint8Array> {
  let all = new Uint8Array(bytes ?? 2 ** 20)
  let at = 0
  for await (const piece of pieces()) {
    if (at + piece.length > all.length) {
      const wider = new Uint8Array(Math.max(2 * all.length, at + piece.length))
      wider.set(all)
      all = wider
    }
    all.set(piece, at)
    at += piece.length
  }
  return all.subarray(0, at)
}
