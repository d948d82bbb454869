import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from "node:fs"
import { request as httpRequest } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll } from "vitest"
import { type ServeOptions, type Serving, serve } from "../../src/server/index.ts"

export const DEMO_MODEL = fileURLToPath(new URL("../../demo/model", import.meta.url))

/** What the page asked for lies there. */
process.env.DFTUNE_CACHE ??= mkdtempSync(join(tmpdir(), "dftune-serve-cache-"))

export const newFolder = () => mkdtempSync(join(tmpdir(), "dftune-serve-"))

/** A run folder with events, and the bundled model as its result where it has one. */
export function writeRun(
  dir: string,
  name: string,
  { events = [], model, result = false }: { events?: object[]; model?: string; result?: boolean },
): string {
  const path = join(dir, name)
  mkdirSync(path)
  writeFileSync(join(path, "events.jsonl"), events.map((e) => `${JSON.stringify(e)}\n`).join(""))
  const config = { model, objective: { name: "dft" }, learning_rate: 1e-5 }
  writeFileSync(join(path, "config.json"), JSON.stringify({ config, versions: {} }))
  if (result) symlinkSync(DEMO_MODEL, join(path, "model"))
  return path
}

/** A server that ends with the tests of its file. */
export async function serving(options: Partial<ServeOptions> = {}): Promise<Serving> {
  const open = { threads: 2 } as const
  const server = await serve({
    ...{ dir: newFolder(), port: 0, models: [DEMO_MODEL], open, say: () => {} },
    ...options,
  })
  afterAll(() => server.close())
  return server
}

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly text: string
}

interface AskOptions {
  readonly method?: string
  readonly headers?: Record<string, string>
  readonly body?: string | Buffer
  /** Nothing of the body that the headers promise is sent. */
  readonly headOnly?: boolean
}

/** One request with exactly these headers; `fetch` would not send a Host or an Origin of ours. */
export function ask(
  port: number,
  path: string,
  { method = "GET", headers = {}, body, headOnly = false }: AskOptions = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const to = { host: "127.0.0.1", port, path, method, headers, agent: false }
    const request = httpRequest(to, (response) => {
      let text = ""
      response.setEncoding("utf8")
      response.on("data", (part) => {
        text += part
      })
      response.on("end", () => {
        if (headOnly) request.destroy()
        resolve({ status: response.statusCode!, headers: response.headers, text })
      })
      response.on("error", reject)
    })
    request.on("error", reject)
    // a refused request is closed: what is still being sent then has nowhere to go
    request.on("socket", (socket) => socket.on("error", () => {}))
    if (headOnly) request.flushHeaders()
    else request.end(body)
  })
}
