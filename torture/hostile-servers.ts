/** A hub and an endpoint that misbehave in every way that was thought of. */
import { existsSync, mkdirSync, readdirSync } from "node:fs"
import { createServer, type RequestListener } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import { InputError } from "../src/errors.ts"
import { EndpointSource } from "../src/generate/index.ts"
import { resolveModel } from "../src/hub/hub.ts"
import { COMMIT, type HubState, hubServer } from "../test/hub/hub-server.ts"
import { drawer } from "./random.ts"
import type { Trial } from "./trial.ts"

const TOKEN = "hf_torture"
const weights = Buffer.from(Array.from({ length: 50_000 }, (_, i) => i % 251))

const fresh = (): HubState => ({
  repos: {
    "o/m": { files: { "config.json": Buffer.from("{}"), "model.safetensors": weights } },
  },
  requests: [],
  cutAfter: undefined,
})

/** What a hub may do; a call must end with the model or an InputError. */
const HUB: Readonly<Record<string, (state: HubState, number: number) => void>> = {
  well: () => {},
  "cut connection": (state, number) => {
    state.cutAfter = 1 + (number % 49_000)
  },
  busy: (state) => {
    state.busy = [429, 503, 502]
  },
  "a page in place of JSON": (state) => {
    state.answer = "<html>log in</html>"
  },
  "JSON of another kind": (state, number) => {
    state.answer = ["[]", "null", "5", '{"sha":"../../x"}', '{"sha":5}', "{"][number % 6]!
  },
}

/** What an endpoint may answer. */
const ANSWERS: readonly RequestListener[] = [
  (_, response) => response.end("not json"),
  (_, response) => response.end("[]"),
  (_, response) => response.end('{"choices":[]}'),
  (_, response) => response.end('{"choices":[{"text":5,"finish_reason":"stop"}]}'),
  (_, response) => response.end('{"choices":[{"text":"x","finish_reason":"content_filter"}]}'),
  (_, response) => response.writeHead(400).end('{"error":{"message":"\\u001b[2J no"}}'),
  (_, response) => response.writeHead(401).end("no"),
  (_, response) => response.destroy(),
]

async function outcome(work: () => Promise<unknown>): Promise<string | undefined> {
  try {
    await work()
    return undefined
  } catch (error) {
    if (error instanceof InputError) return undefined
    return error instanceof Error ? (error.stack ?? error.message).slice(0, 300) : String(error)
  }
}

export const hostileServers: Trial = async ({ seed, count, until, folder }) => {
  const draw = drawer(seed)
  const failures: string[] = []
  const told: Record<string, number> = {}
  let tried = 0
  for (; tried < count && Date.now() < until; tried++) {
    const number = draw.whole(1e6)
    if (draw() < 0.6) {
      const name = draw.of(Object.keys(HUB))
      const state = fresh()
      HUB[name]!(state, number)
      const { server, url } = await hubServer(state)
      const cache = join(folder, `hub-${tried}`)
      mkdirSync(cache)
      Object.assign(process.env, { HF_ENDPOINT: url, HF_HUB_CACHE: cache, HF_TOKEN: TOKEN })
      const wrong = await outcome(() => resolveModel("o/m"))
      if (wrong !== undefined) failures.push(`seed ${seed}, ${tried}: hub, ${name}: ${wrong}`)
      const blobs = join(cache, "models--o--m", "blobs")
      const left = existsSync(blobs) ? readdirSync(blobs) : []
      const snapshot = join(cache, "models--o--m", "snapshots", COMMIT)
      if (
        left.some((blob) => /incomplete/.test(blob)) &&
        existsSync(join(snapshot, "model.safetensors"))
      ) {
        failures.push(`seed ${seed}, ${tried}: hub, ${name}: a partial file beside the whole one`)
      }
      server.close()
      told[`hub: ${name}`] = (told[`hub: ${name}`] ?? 0) + 1
    } else {
      const answer = ANSWERS[number % ANSWERS.length]!
      const server = createServer((request, response) => {
        request.resume()
        answer(request, response)
      })
      await new Promise<void>((done) => server.listen(0, "127.0.0.1", done))
      const { port } = server.address() as AddressInfo
      const source = new EndpointSource({
        url: `http://127.0.0.1:${port}`,
        model: "m",
        apiKey: "k",
        concurrency: 4,
        attempts: 1,
        onRetry: () => {},
      })
      const request = { prompt: "x", n: 1, temperature: 0, maxNewTokens: 2, seed: 0 }
      const wrong = await outcome(async () => {
        for await (const _ of source.sample([request, request, request])) {
          // each is an answer, or says why there is none
        }
      })
      if (wrong !== undefined) {
        failures.push(`seed ${seed}, ${tried}: endpoint ${number % ANSWERS.length}: ${wrong}`)
      }
      server.closeAllConnections()
      server.close()
      told.endpoint = (told.endpoint ?? 0) + 1
    }
  }
  return { tried, figures: told, failures }
}
