/** /api/runs: the runs of the folder, their events, and both as numbers for Prometheus. */
import { statSync } from "node:fs"
import { join } from "node:path"
import { type Context, Hono } from "hono"
import { isObject } from "../formats/json.ts"
import type { RunEvent } from "../run/events.ts"
import { RUN_FILES, readRunRecord } from "../run/run-folder.ts"
import type { Lanes } from "./lanes.ts"
import { refusal } from "./refusal.ts"
import { type NamedRun, runFolders } from "./run-folders.ts"
import { followLines, linesFrom, placeAfter } from "./run-lines.ts"

/** Streams of events that are open at once. */
export const MOST_STREAMS = 64

type Of<Type extends RunEvent["type"]> = Extract<RunEvent, { type: Type }>

/** What is remembered of a run, so that only what was added is read again. */
interface Digest {
  last: string | undefined
  start: Of<"run.start"> | undefined
  end: Of<"run.end"> | undefined
  step: Of<"step"> | undefined
  evaluation: Of<"eval"> | undefined
  warnings: number
}

const empty = (): Digest => ({
  ...{ last: undefined, start: undefined, end: undefined, step: undefined },
  ...{ evaluation: undefined, warnings: 0 },
})

const eventsOf = ({ path }: NamedRun) => join(path, RUN_FILES.events)

function take(digest: Digest, event: RunEvent): void {
  if (event.type === "run.start") [digest.start, digest.end] = [event, undefined]
  else if (event.type === "run.end") digest.end = event
  else if (event.type === "step") digest.step = event
  else if (event.type === "eval") digest.evaluation = event
  else if (event.type === "warning") digest.warnings++
}

export interface RunRoutesOptions {
  readonly dir: string
  readonly lanes: Lanes
}

export function runRoutes({ dir, lanes }: RunRoutesOptions): Hono {
  const digests = new Map<string, Digest>()
  let streams = 0

  function digestOf(run: NamedRun): Digest {
    const path = eventsOf(run)
    let digest = digests.get(run.path) ?? empty()
    let place = digest.last === undefined ? 0 : placeAfter(path, digest.last)
    if (place === undefined) [digest, place] = [empty(), 0]
    digests.set(run.path, digest)
    for (let more = true; more; ) {
      const piece = linesFrom(path, place)
      for (const { id, event } of piece.lines) {
        digest.last = id
        take(digest, event)
      }
      more = piece.more && piece.end > place
      place = piece.end
    }
    return digest
  }

  const named = (c: Context): NamedRun => {
    const name = c.req.param("name")
    const run = runFolders(dir).find((one) => one.name === name)
    if (run) return run
    throw refusal(404, `there is no run "${name}" in the folder of this server`)
  }

  function stream(c: Context, run: NamedRun, after: string | undefined): Response {
    if (streams >= MOST_STREAMS) throw refusal(429, `${MOST_STREAMS} streams are open already`)
    const gone = new AbortController()
    const signal = AbortSignal.any([gone.signal, c.req.raw.signal])
    signal.throwIfAborted()
    streams++
    signal.addEventListener("abort", () => streams--, { once: true })
    const lines = followLines(eventsOf(run), { after, signal })
    const encoder = new TextEncoder()
    const body = new ReadableStream<Uint8Array>({
      async pull(controller) {
        const { done, value } = await lines.next().catch((error: unknown) => {
          gone.abort() // the run's folder went away
          throw error
        })
        if (done) return controller.close()
        const id = value?.id === undefined ? "" : `id: ${value.id}\n`
        const text = value ? `${id}data: ${JSON.stringify(value.event)}\n\n` : ": still here\n\n"
        controller.enqueue(encoder.encode(text))
      },
      cancel: () => gone.abort(),
    })
    return c.body(body, 200, { "Content-Type": "text/event-stream; charset=utf-8" })
  }

  return new Hono()
    .get("/api/runs", (c) =>
      c.json({ runs: runFolders(dir).map((run) => described(run, digestOf(run))) }),
    )
    .get("/api/runs/:name/events", (c) => {
      const run = named(c)
      const after = c.req.header("last-event-id") ?? c.req.query("after")
      if ((c.req.header("accept") ?? "").includes("text/event-stream")) {
        return stream(c, run, after)
      }
      const place = after === undefined ? 0 : placeAfter(eventsOf(run), after)
      const { lines, more } = linesFrom(eventsOf(run), place ?? 0)
      return c.json({
        reset: place === undefined,
        events: lines.map(({ event }) => event),
        last_event_id: lines.at(-1)?.id ?? (place === undefined ? null : (after ?? null)),
        more,
      })
    })
    .get("/metrics", (c) => {
      const runs = runFolders(dir).map((run) => ({ run, digest: digestOf(run) }))
      return c.text(metrics(runs, lanes))
    })
}

function described(run: NamedRun, { start, end, step, evaluation, warnings }: Digest) {
  let config: unknown
  try {
    config = readRunRecord(run.path)?.config
  } catch {
    config = undefined // a config.json that is no JSON: the events still tell of the run
  }
  return {
    name: run.name,
    /** Without a run.end a run goes on or was killed: `updated` says when it last told something. */
    state: end?.reason ?? (start ? "open" : "empty"),
    updated: statSync(eventsOf(run)).mtime.toISOString(),
    objective: start?.objective ?? null,
    model: isObject(config) && typeof config.model === "string" ? config.model : null,
    engine: start?.engine ?? null,
    step: step?.step ?? 0,
    steps: start?.steps ?? null,
    last_step: step ?? null,
    last_eval: evaluation ?? null,
    warnings,
  }
}

const STEP_NUMBERS = ["loss", "nll", "mean_p", "grad_norm", "learning_rate", "tokens"] as const

/** Prometheus's text format. */
function metrics(runs: readonly { run: NamedRun; digest: Digest }[], lanes: Lanes): string {
  const label = ({ name }: NamedRun) =>
    `run="${name.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`
  const gauge = (name: string, lines: readonly string[]) => [`# TYPE ${name} gauge`, ...lines]
  const told = runs.filter(({ digest }) => digest.step)
  return [
    ...gauge("dftune_requests_computing", [`dftune_requests_computing ${lanes.computing}`]),
    ...gauge("dftune_requests_waiting", [`dftune_requests_waiting ${lanes.waiting}`]),
    ...gauge(
      "dftune_run_step",
      told.map(({ run, digest }) => `dftune_run_step{${label(run)}} ${digest.step!.step}`),
    ),
    ...STEP_NUMBERS.flatMap((key) =>
      gauge(
        `dftune_run_${key}`,
        told.map(
          ({ run, digest }) => `dftune_run_${key}{${label(run)}} ${digest.step![key] ?? "NaN"}`,
        ),
      ),
    ),
    "",
  ].join("\n")
}
