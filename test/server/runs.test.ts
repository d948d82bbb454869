import { appendFileSync, renameSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { expect, test } from "vitest"
import { ask, newFolder, serving, writeRun } from "./serving.ts"

const time = "2026-01-01T00:00:00.000Z"
const start = {
  ...{ type: "run.start", time, step: 0, run_id: "a", engine: "onnx", device: "cpu" },
  ...{ parameters: { total: 10, trained: 10 }, supervised_tokens_per_epoch: 5 },
  ...{ normalization: "tokens", steps: 9, objective: "dft" },
}
const step = (n: number, loss = n / 10) => ({
  ...{ type: "step", time, step: n, loss, nll: 1, mean_p: 0.5, mean_weight: 0.5 },
  ...{ effective_tokens: 1, entropy: 1, token_accuracy: 0.5, eos_p: null, grad_norm: 1 },
  ...{ learning_rate: 1e-5, epoch: 0, tokens: n, supervised_tokens: n, tokens_per_second: 1 },
  memory_bytes: 1,
})
const text = (events: readonly object[]) => events.map((e) => `${JSON.stringify(e)}\n`).join("")

const dir = newFolder()
const run = writeRun(dir, "one", { events: [start, step(1), step(2)], model: "org/model" })
writeRun(dir, "two", {
  events: [start, step(1), { type: "run.end", time, step: 1, reason: "done" }],
})
const { port, token } = await serving({ dir, models: [] })
const headers = { Authorization: `Bearer ${token}` }
const json = async (path: string) => JSON.parse((await ask(port, path, { headers })).text)

/** The events of a stream until there are `count` of them; then the connection is dropped. */
async function streamed(count: number, last?: string): Promise<{ id: string; data: string }[]> {
  const gone = new AbortController()
  const answer = await fetch(`http://127.0.0.1:${port}/api/runs/one/events`, {
    headers: {
      ...headers,
      Accept: "text/event-stream",
      ...(last ? { "Last-Event-ID": last } : {}),
    },
    signal: gone.signal,
  })
  let all = ""
  const told = () =>
    [...all.matchAll(/(?:id: (\S+)\n)?data: (.*)\n\n/g)].map(([, id, data]) => ({
      id: id ?? "",
      data: data!,
    }))
  for await (const part of answer.body!.pipeThrough(new TextDecoderStream())) {
    all += part
    if (told().length >= count) break
  }
  gone.abort()
  return told()
}
const seen = (events: readonly { data: string }[]) =>
  events.map(({ data }) => JSON.parse(data)).map((e) => `${e.type} ${e.step}`)

test("runs are told with their state, objective, model and last numbers", async () => {
  const { runs } = await json("/api/runs")
  expect(runs).toMatchObject([
    { name: "one", state: "open", objective: "dft", model: "org/model", step: 2, steps: 9 },
    { name: "two", state: "done", model: null, step: 1 },
  ])
  expect(runs[0].last_step.loss).toBe(0.2)
})

test("over dropped connections each event comes once, those written meanwhile too", async () => {
  const path = join(run, "events.jsonl")
  const first = await streamed(2)
  expect(seen(first)).toEqual(["run.start 0", "step 1"].concat(seen(first).slice(2)))
  const half = JSON.stringify(step(4))
  appendFileSync(path, text([step(3)]) + half.slice(0, 20))
  const second = await streamed(2, first[1]!.id)
  expect(seen(second)).toEqual(["step 2", "step 3"])
  appendFileSync(path, `${half.slice(20)}\nnot json\n`)
  const third = await streamed(1, second[1]!.id)
  expect(seen(third)).toEqual(["step 4"])
  expect((await json("/api/runs")).runs[0].step).toBe(4)
  const rest = await json(`/api/runs/one/events?after=${second[0]!.id}`)
  expect(seen(rest.events.map((e: object) => ({ data: JSON.stringify(e) })))).toEqual([
    "step 3",
    "step 4",
  ])

  // the run goes on from step 2 in another file
  const other = [start, step(1), step(2), step(3, 7)]
  writeFileSync(`${path}.new`, text(other))
  renameSync(`${path}.new`, path)
  expect(seen(await streamed(5, third[0]!.id))).toEqual([
    ..."reset 0,run.start 0,step 1,step 2,step 3".split(","),
  ])
  expect(seen(await streamed(1, second[0]!.id))).toEqual(["step 3"]) // step 2 is in both
  expect((await json("/api/runs")).runs[0].last_step.loss).toBe(7)
})

test("metrics are Prometheus's text", async () => {
  const { text: told } = await ask(port, "/metrics", { headers })
  expect(told).toMatch(/^# TYPE dftune_requests_computing gauge\ndftune_requests_computing 0$/m)
  expect(told).toContain('dftune_run_step{run="two"} 1\n')
})

test("only runs of the folder, and only with the token", async () => {
  for (const name of ["..", "%2e%2e", "..%2Fone", "three", "one%2F..%2Ftwo"]) {
    expect((await ask(port, `/api/runs/${name}/events`, { headers })).status).toBe(404)
  }
  for (const path of ["/api/runs", "/api/runs/one/events", "/metrics"]) {
    expect((await ask(port, path)).status).toBe(401)
  }
  const bad = await json("/api/runs/one/events?after=0-999999999999-0123456789abcdef")
  expect([bad.reset, bad.events.length]).toEqual([true, 4])
})
