/** `dftune serve`: one process, loopback only, over a folder of runs. */
import { once } from "node:events"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { getRequestListener } from "@hono/node-server"
import { Hono } from "hono"
import { bodyLimit } from "hono/body-limit"
import { InputError } from "../errors.ts"
import { ownCommand } from "../host/own-command.ts"
import { withoutDownloads } from "../hub/offline.ts"
import { dataRoutes } from "./data-routes.ts"
import { evaluationRoutes } from "./evaluation-routes.ts"
import { exportRoutes } from "./export-routes.ts"
import {
  hostGuard,
  newSecrets,
  requestGuard,
  type Secrets,
  securityHeaders,
  tokenGuard,
} from "./guard.ts"
import { JobQueue } from "./job-queue.ts"
import { Lanes } from "./lanes.ts"
import { ServedModels, type ServedModelsOptions } from "./models.ts"
import { newRunRoutes } from "./new-run-routes.ts"
import { oneRunRoutes } from "./one-run-routes.ts"
import { openAiRoutes } from "./openai-routes.ts"
import { pageFiles } from "./page-files.ts"
import { errorAnswer, refusal } from "./refusal.ts"
import { folderOfRuns } from "./run-folders.ts"
import { RunIndexes } from "./run-indexes.ts"
import { runRoutes } from "./run-routes.ts"
import { SESSION_PATH, sessionRoute } from "./session.ts"
import { type Allowed, NOTHING_ALLOWED } from "./start-checks.ts"
import { tokenRoutes } from "./token-routes.ts"

/** Of a request's body; bytes. */
export const MOST_BODY = 4 * 2 ** 20
const MOST_CONNECTIONS = 256
/** To send the head, and all of a request; ms. */
const HEAD_MS = 10_000
const REQUEST_MS = 30_000

export interface ServeOptions extends ServedModelsOptions {
  /** 0: any that is free. */
  readonly port: number
  readonly say: (text: string) => void
  /** Nothing of a run is changed, and no file is written. */
  readonly readOnly?: boolean
  /** Programs and servers that the page may name; none if left out. */
  readonly allowed?: Allowed
  /** Environment of the runs that it starts; this process's if left out. */
  readonly jobEnv?: NodeJS.ProcessEnv
  /** How they are started; as this program was, if left out. */
  readonly jobCommand?: typeof ownCommand
  /** The longest that a request computes; ms. */
  readonly computeMs?: number
  /** The folder of the built pages; where the build puts them if left out. */
  readonly pages?: string
}

export interface Serving {
  /** With the token in its fragment, which no browser sends on. */
  readonly url: string
  readonly port: number
  readonly token: string
  readonly lanes: Lanes
  close(): Promise<void>
}

export async function serve({ port: wanted, ...options }: ServeOptions): Promise<Serving> {
  const server = createServer({ headersTimeout: HEAD_MS, requestTimeout: REQUEST_MS })
  server.maxConnections = MOST_CONNECTIONS
  server.listen({ port: wanted, host: "127.0.0.1" })
  try {
    await once(server, "listening")
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code !== "EADDRINUSE" && code !== "EACCES") throw error
    const why = code === "EACCES" ? "this user may not listen there" : "something listens there"
    throw new InputError(`--port ${wanted}: ${why}; --port 0 takes any that is free (${message})`)
  }
  const { port } = server.address() as AddressInfo
  const secrets = newSecrets()
  const lanes = new Lanes()
  const models = new ServedModels(options)
  const readOnly = options.readOnly ?? false
  const indexes = new RunIndexes({ readOnly })
  const { dir, open: { threads } = {} } = options
  const tokens = tokenRoutes({ dir, lanes, indexes, readOnly, ...(threads ? { threads } : {}) })
  const queue = new JobQueue(folderOfRuns(options.dir), {
    env: options.jobEnv ?? process.env,
    command: options.jobCommand,
    starts: options.readOnly !== true,
    allowed: options.allowed ?? NOTHING_ALLOWED,
  })
  const app = application({
    ...options,
    port,
    secrets,
    lanes,
    models,
    queue,
    indexes,
    tokens: tokens.routes,
  })
  const answer = getRequestListener(app.fetch, { overrideGlobalObjects: false })
  // no name of a request or of a run's files leads to a download
  server.on("request", (request, response) => withoutDownloads(() => answer(request, response)))
  return {
    url: `http://127.0.0.1:${port}/#token=${secrets.token}`,
    port,
    token: secrets.token,
    lanes,
    async close() {
      queue.close()
      server.close()
      server.closeAllConnections()
      await models.close()
      await tokens.close()
    },
  }
}

interface Parts extends Omit<ServeOptions, "models"> {
  readonly secrets: Secrets
  readonly lanes: Lanes
  readonly models: ServedModels
  readonly queue: JobQueue
  readonly indexes: RunIndexes
  readonly tokens: Hono
}

function application(parts: Parts): Hono {
  const { dir, port, secrets, lanes, models, say, computeMs, readOnly = false } = parts
  const { queue, indexes, tokens, allowed = NOTHING_ALLOWED } = parts
  const pages = pageFiles(parts.pages)
  const isPublic = (path: string) => path === SESSION_PATH || pages.has(path)
  const limits = computeMs === undefined ? {} : { computeMs }
  const app = new Hono()
  app.onError((error, c) => errorAnswer(error, c, say))
  app.notFound(() => {
    throw refusal(404, "there is nothing at this address")
  })
  app.use(securityHeaders)
  app.use(hostGuard({ port }))
  app.use(requestGuard(isPublic))
  app.use(tokenGuard({ port, secrets }, isPublic))
  const tooLarge = () => refusal(413, `a request is at most ${MOST_BODY} bytes`).getResponse()
  app.use(bodyLimit({ maxSize: MOST_BODY, onError: tooLarge }))
  app.route("/", sessionRoute({ port, secrets }))
  app.route("/", runRoutes({ dir, lanes, indexes, readOnly }))
  app.route("/", oneRunRoutes({ dir, readOnly, queue, allowed }))
  app.route("/", exportRoutes({ dir, readOnly, queue, allowed }))
  app.route("/", tokens)
  app.route("/", dataRoutes({ dir, lanes }))
  const { jobEnv: env = process.env, jobCommand: command = ownCommand } = parts
  app.route("/", newRunRoutes({ dir, readOnly, queue, lanes, models, allowed, env, command }))
  app.route("/", evaluationRoutes({ dir }))
  app.route("/", pages.routes)
  app.route("/v1", openAiRoutes({ models, lanes, say, ...limits }))
  return app
}
