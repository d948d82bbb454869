/**
 * MLflow by the REST API of its tracking server (mlflow.org/docs/latest/rest-api.html), asked as
 * its own client is: MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME, MLFLOW_TRACKING_TOKEN, or
 * MLFLOW_TRACKING_USERNAME and _PASSWORD.
 */
import { basename, resolve } from "node:path"
import { dottedValues, isObject } from "../formats/json.ts"
import { isBusy, isNoAddress, type Patience, patiently } from "../host/patience.ts"
import { keepId, keptId } from "./kept-ids.ts"
import { withoutKeys } from "./keys.ts"
import { Outbox } from "./outbox.ts"
import { scalars } from "./scalars.ts"
import type { TrackedEvent, TrackedRun, Tracker } from "./tracker.ts"

const NAME = "mlflow"
const EXPERIMENT = "dftune"
/** Of one request, as the server bounds them. */
const MOST_METRICS = 1000
const MOST_PARAMS = 100
const MOST_CHARACTERS = 500

const REQUEST_MS = 10_000
const PATIENCE: Patience = { attempts: 3, firstWaitMs: 1000 }
const CLOSE_MS = 30_000

interface Metric {
  readonly key: string
  readonly value: number
  readonly timestamp: number
  readonly step: number
}
type Item =
  | { readonly begin: TrackedEvent }
  | { readonly metric: Metric }
  | { readonly status: "FINISHED" | "KILLED" | "FAILED"; readonly time: number }

/** How a run ended, in the server's words. */
const STATUS = { done: "FINISHED", interrupted: "KILLED", failed: "FAILED" } as const

/** @throws Error where no server is named, or the one that is does not answer */
export async function openMlflow({ outputDir, settings }: TrackedRun): Promise<Tracker> {
  const ask = client(process.env.MLFLOW_TRACKING_URI)
  const experiment = await experimentId(ask)
  let run: string | undefined
  const begin = async ({ step, time }: TrackedEvent) => {
    if (run !== undefined) return // a reset: the same run is told again
    const earlier = step > 0 ? keptId(outputDir, NAME) : undefined
    if (earlier !== undefined && (await goOn(ask, earlier))) {
      run = earlier
      return
    }
    const created = await ask("runs/create", {
      experiment_id: experiment,
      run_name: basename(resolve(outputDir)),
      start_time: Date.parse(time),
    })
    run = textAt(created, "run", "info", "run_id")
    await keepId(outputDir, NAME, run)
    const params = dottedValues(settings).map(([key, value]) => ({
      key: allowed(key),
      value: (typeof value === "string" ? value : JSON.stringify(value)).slice(0, MOST_CHARACTERS),
    }))
    for (const some of inParts(params, MOST_PARAMS)) {
      await ask("runs/log-batch", { run_id: run, params: some })
    }
  }
  const outbox = new Outbox<Item>(async (items) => {
    let metrics: Metric[] = []
    const tell = async () => {
      for (const some of inParts(metrics, MOST_METRICS)) {
        await ask("runs/log-batch", { run_id: run, metrics: some })
      }
      metrics = []
    }
    for (const item of items) {
      if ("metric" in item) metrics.push(item.metric)
      else await tell()
      if ("begin" in item) await begin(item.begin)
      if ("status" in item) {
        await ask("runs/update", { run_id: run, status: item.status, end_time: item.time })
      }
    }
    await tell()
  })
  return {
    name: NAME,
    see(event) {
      if (event.type === "run.start" || event.type === "reset") outbox.push({ begin: event })
      const timestamp = Date.parse(event.time)
      const { step } = event
      const metrics = scalars(event).map(([key, value]) => ({
        metric: { key: allowed(key), value, timestamp, step },
      }))
      outbox.push(...metrics)
      if (event.type === "run.end" && "reason" in event) {
        const status = STATUS[event.reason as keyof typeof STATUS] ?? "FAILED"
        outbox.push({ status, time: timestamp })
      }
    },
    close: () => outbox.drained(CLOSE_MS),
  }
}

/** A name in the letters that the server takes. */
const allowed = (name: string) => name.replaceAll(/[^\w\-. /]/g, "_").slice(0, 250)

function inParts<T>(items: readonly T[], size: number): T[][] {
  const count = Math.ceil(items.length / size)
  return Array.from({ length: count }, (_, i) => items.slice(i * size, (i + 1) * size))
}

type Ask = (path: string, body?: object) => Promise<unknown>

/** An answer that is not what was asked for. */
class Refused extends Error {
  readonly code: string
  /** The server is at fault, and may be well the next time. */
  readonly mayPass: boolean
  constructor(message: string, code: string, mayPass: boolean) {
    super(message)
    this.code = code
    this.mayPass = mayPass
  }
}

function client(uri: string | undefined): Ask {
  if (uri === undefined || uri === "") {
    throw new Error("MLFLOW_TRACKING_URI is not set; expected the address of an `mlflow server`")
  }
  if (!/^https?:\/\//.test(uri) || !URL.canParse(uri)) {
    throw new Error(
      `MLFLOW_TRACKING_URI is ${uri}; expected the http address of an \`mlflow server\``,
    )
  }
  const url = new URL(uri)
  const {
    MLFLOW_TRACKING_TOKEN: token,
    MLFLOW_TRACKING_USERNAME,
    MLFLOW_TRACKING_PASSWORD,
  } = process.env
  const user = decodeURIComponent(url.username) || (MLFLOW_TRACKING_USERNAME ?? "")
  const password = decodeURIComponent(url.password) || (MLFLOW_TRACKING_PASSWORD ?? "")
  url.username = ""
  url.password = ""
  const root = `${url.href.replace(/\/+$/, "")}/api/2.0/mlflow/`
  const authorization = token
    ? `Bearer ${token}`
    : user && `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`
  const headers = {
    "Content-Type": "application/json",
    ...(authorization ? { Authorization: authorization } : {}),
  }
  const once = async (path: string, body: object | undefined) => {
    const response = await fetch(root + path, {
      headers,
      redirect: "error", // a key is for this server alone
      signal: AbortSignal.timeout(REQUEST_MS),
      ...(body ? { method: "POST", body: JSON.stringify(body) } : {}),
    })
    const text = await response.text()
    if (response.ok) return JSON.parse(text || "{}") as unknown
    const { error_code: code, message } = said(text)
    const why = withoutKeys(`${url.origin} answered ${response.status} ${code}: ${message}`, [
      password,
    ])
    throw new Refused(why, code, isBusy(response.status))
  }
  type Answered = { readonly answer: unknown } | { readonly error: unknown }
  const answered = (path: string, body: object | undefined): Promise<Answered> =>
    once(path, body).then(
      (answer) => ({ answer }),
      (error: unknown) => ({ error }),
    )
  const mayPass = (error: unknown) =>
    error instanceof Refused ? error.mayPass : !isNoAddress(error)
  return async (path, body) => {
    const found = await patiently(() => answered(path, body), {
      ...PATIENCE,
      again: (outcome) => ("error" in outcome && mayPass(outcome.error) ? {} : undefined),
    })
    if ("answer" in found) return found.answer
    if (found.error instanceof Refused) throw found.error
    const { message, cause } = found.error as Error & { cause?: { code?: string } }
    throw new Error(`${url.origin} does not answer (${cause?.code ?? message})`)
  }
}

function said(text: string): { error_code: string; message: string } {
  try {
    const { error_code = "", message = "" } = JSON.parse(text)
    return { error_code: String(error_code), message: String(message).slice(0, 300) }
  } catch {
    return { error_code: "", message: text.slice(0, 300) }
  }
}

async function experimentId(ask: Ask): Promise<string> {
  const name = process.env.MLFLOW_EXPERIMENT_NAME || EXPERIMENT
  const query = `experiments/get-by-name?experiment_name=${encodeURIComponent(name)}`
  try {
    return textAt(await ask(query), "experiment", "experiment_id")
  } catch (error) {
    if (!(error instanceof Refused) || error.code !== "RESOURCE_DOES_NOT_EXIST") throw error
    return textAt(await ask("experiments/create", { name }), "experiment_id")
  }
}

/** Whether a run of before is there, to be told more. */
async function goOn(ask: Ask, id: string): Promise<boolean> {
  try {
    await ask("runs/update", { run_id: id, status: "RUNNING" })
    return true
  } catch (error) {
    if (error instanceof Refused && error.code !== "") return false // removed, or another server's
    throw error
  }
}

function textAt(answer: unknown, ...path: readonly string[]): string {
  let found: unknown = answer
  for (const name of path) found = isObject(found) ? found[name] : undefined
  if (typeof found === "string") return found
  throw new Error(`the server's answer has no ${path.join(".")}; it is no MLflow tracking server`)
}
