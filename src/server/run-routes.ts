/** /api/runs: the runs of the folder, their events, and both as numbers for Prometheus. */
import { join } from "node:path"
import { type Context, Hono } from "hono"
import { detailsBytes } from "../run/run-details.ts"
import { MOST_FOLLOWED } from "../run/run-files.ts"
import { RUN_FILES } from "../run/run-folder.ts"
import { jsonBody } from "./body.ts"
import { describedRun } from "./described-run.ts"
import { EventStreams } from "./event-stream.ts"
import { followAll } from "./follow-runs.ts"
import type { Lanes } from "./lanes.ts"
import { metrics } from "./metrics.ts"
import { refusal } from "./refusal.ts"
import { type NamedRun, runFolders } from "./run-folders.ts"
import type { RunIndexes } from "./run-indexes.ts"
import { followLines, linesFrom, placeAfter } from "./run-lines.ts"
import { runMarks, writeMarks } from "./run-marks.ts"

export interface RunRoutesOptions {
  readonly dir: string
  readonly lanes: Lanes
  readonly indexes: RunIndexes
  readonly readOnly: boolean
}

const eventsOf = ({ path }: NamedRun) => join(path, RUN_FILES.events)

/** The run that a request names; only one of the folder. */
export function namedRun(c: Context, dir: string): NamedRun {
  const name = c.req.param("name")
  const run = runFolders(dir).find((one) => one.name === name)
  if (run) return run
  throw refusal(404, `there is no run "${name}" in the folder of this server`)
}

export function changing(readOnly: boolean): void {
  if (readOnly) throw refusal(403, "this server was started with --read-only: it changes nothing")
}

export function runRoutes({ dir, lanes, indexes, readOnly }: RunRoutesOptions): Hono {
  const streams = new EventStreams()
  /** One after the other: a run's numbers are in memory while its index is made. */
  async function all() {
    const found = []
    for (const run of runFolders(dir)) found.push({ run, summary: await indexes.summary(run) })
    return found
  }

  async function* events(run: NamedRun, after: string | undefined, signal: AbortSignal) {
    for await (const line of followLines(eventsOf(run), { after, signal })) {
      yield line && { ...(line.id === undefined ? {} : { id: line.id }), data: line.event }
    }
  }

  return new Hono()
    .get("/api/runs", async (c) => {
      const runs = (await all()).map(({ run, summary }) => describedRun(run, summary))
      return c.json({ runs, read_only: readOnly })
    })
    .get("/api/stream", (c) => {
      const names = c.req.queries("run") ?? []
      if (names.length > MOST_FOLLOWED) {
        throw refusal(400, `a stream follows at most ${MOST_FOLLOWED} runs, not ${names.length}`)
      }
      const after = c.req.header("last-event-id") ?? c.req.query("after")
      return streams.answer(c, (signal) => followAll({ dir, indexes, names, after, signal }))
    })
    .get("/api/runs/:name/details", async (c) => {
      const { summary, details } = await indexes.whole(namedRun(c, dir))
      const bytes = detailsBytes(details, summary.last)
      return c.body(bytes, 200, { "Content-Type": "application/octet-stream" })
    })
    .post("/api/runs/:name/marks", async (c) => {
      const run = namedRun(c, dir)
      changing(readOnly)
      const marks = runMarks.safeParse(await jsonBody(c))
      if (!marks.success) throw refusal(400, "expected { tags: [texts], archived: true or false }")
      writeMarks(run.path, marks.data)
      return c.json(marks.data)
    })
    .get("/api/runs/:name/events", (c) => {
      const run = namedRun(c, dir)
      const after = c.req.header("last-event-id") ?? c.req.query("after")
      if ((c.req.header("accept") ?? "").includes("text/event-stream")) {
        return streams.answer(c, (signal) => events(run, after, signal))
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
    .get("/metrics", async (c) =>
      c.text(metrics({ runs: await all(), lanes, streams: streams.open })),
    )
}
