/** What a page may start, and what it may not, also by a run's own config. */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { expect, test } from "vitest"
import { queuePath } from "../../src/server/queue-file.ts"
import { SESSION_PATH } from "../../src/server/session.ts"
import { checkStart } from "../../src/server/start-checks.ts"
import { endEvent, startEvent } from "./run-events.ts"
import { ask, DEMO_MODEL, newFolder, serving, writeRun } from "./serving.ts"

const SERVER = fileURLToPath(new URL("../../src/server", import.meta.url))
const dir = newFolder()
writeFileSync(join(dir, "rows.jsonl"), '{"problem": "1 + 1", "solution": "2"}\n')
const served = await serving({
  dir,
  models: [],
  jobEnv: { ...process.env, HF_HUB_OFFLINE: "1" },
  allowed: { code: [join(dir, "mine.ts")], hosts: ["gpu:8000"] },
})
const readOnly = await serving({ dir, models: [], readOnly: true })

async function post(path: string, body: object, { port, token } = served) {
  const answer = await ask(port, path, {
    method: "POST",
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
    body: JSON.stringify(body),
  })
  return { status: answer.status, text: answer.text }
}
const plain = {
  model: DEMO_MODEL,
  data: { train: [{ path: join(dir, "rows.jsonl") }] },
  objective: "dft",
}
const online = (rollout: object) => ({ ...plain, objective: "grpo", rollout })

const PROGRAMS: readonly (readonly [name: string, config: object, key: string])[] = [
  ["engine.python", { ...plain, engine: { name: "torch", python: "/bin/sh" } }, "engine.python"],
  [
    "engine.device.library",
    { ...plain, engine: { name: "onnx", device: { library: "/tmp/evil.so" } } },
    "engine.device.library",
  ],
  [
    "sbatch",
    { ...plain, engine: { name: "torch", launcher: "slurm", sbatch: { wrap: "touch /tmp/x" } } },
    "engine.sbatch.wrap",
  ],
  [
    "a reward's module",
    online({ rewards: [{ module: "/tmp/evil.ts" }] }),
    "rollout.rewards[0].module",
  ],
]

test.each(PROGRAMS)(
  "%s is refused to a page, in a new run and in a probe",
  async (_, config, key) => {
    for (const [path, body] of [
      ["/api/jobs", { name: "evil", config }],
      ["/api/probe", { config }],
    ] as const) {
      const { status, text } = await post(path, body)
      expect([path, status]).toEqual([path, 403])
      expect(text).toContain(key)
      expect(text).toContain("--allow-code")
    }
  },
)

test.each(PROGRAMS)(
  "%s is refused when it comes from a run's own config.json",
  async (name, config, key) => {
    const run = writeRun(dir, `stranger ${name.replaceAll(".", "-")}`, {
      events: [startEvent, endEvent(1, "interrupted")],
    })
    writeFileSync(join(run, "config.json"), JSON.stringify({ config, versions: {} }))
    const path = `/api/runs/${encodeURIComponent(`stranger ${name.replaceAll(".", "-")}`)}`
    for (const [what, body] of [
      ["resume", {}],
      ["export", { to: "gguf" }],
    ] as const) {
      const { status, text } = await post(`${path}/${what}`, body)
      expect([what, status]).toEqual([what, 403])
      expect(text).toContain(key)
    }
  },
)

test("--allow-code admits exactly the files that it lists; --allow-host the hosts", () => {
  const allowed = { code: [join(dir, "mine.ts")], hosts: ["gpu:8000"] }
  const refused = (config: object) => {
    try {
      checkStart(config, allowed)
      return false
    } catch {
      return true
    }
  }
  const module = (path: string) => online({ rewards: [{ module: path }] })
  const url = (at: string) => online({ rewards: [{ url: at }] })
  expect(refused(module(join(dir, "mine.ts")))).toBe(false)
  expect(refused(module(join(dir, "sub/../mine.ts")))).toBe(false)
  for (const other of ["mine.ts", join(dir, "mine.ts.evil"), join(dir, "other/mine.ts")]) {
    expect([other, refused(module(other))]).toEqual([other, true])
  }
  for (const own of [
    "http://127.0.0.1:9/x",
    "http://localhost/",
    "http://[::1]:5/",
    "http://gpu:8000/x",
  ]) {
    expect([own, refused(url(own))]).toEqual([own, false])
  }
  for (const far of [
    ..."http://gpu:8001/ http://gpu/ https://example.org/ http://127.0.0.1.example.org/".split(" "),
    ..."http://localhost.example.org/ http://127.0.0.1@example.org/ ftp://example.org/x".split(" "),
    "HTTPS://EXAMPLE.ORG/",
  ]) {
    expect([far, refused(url(far))]).toEqual([far, true])
  }
})

test("where a run writes is the server's to say, and its name is no path", async () => {
  for (const name of ["../evil", "..", ".hidden", "a/b", "a\\b", "", "x".repeat(81), "nul\0"]) {
    expect([name, (await post("/api/jobs", { name, config: plain })).status]).toEqual([name, 400])
  }
  for (const key of ["output_dir", "resume", "overwrite_output_dir"]) {
    const { status, text } = await post("/api/jobs", {
      name: "fine",
      config: { ...plain, [key]: "/tmp/x" },
    })
    expect([status, text.includes(key)]).toEqual([400, true])
  }
  mkdirSync(join(dir, "taken"))
  expect((await post("/api/jobs", { name: "taken", config: plain })).status).toBe(409)
})

test.each([
  [
    "a folder that is not there",
    { ...plain, model: "/nowhere/model" },
    "model: /nowhere/model: no",
  ],
  [
    "a hub id",
    { ...plain, model: "nobody/model-x" },
    "model: nobody/model-x is not on this machine",
  ],
  [
    "rows that are not there",
    { ...plain, data: { train: [{ path: "gone.jsonl" }] } },
    "data.train[0].path: gone.jsonl: no such file",
  ],
  [
    "a data set of the hub",
    { ...plain, data: { ...plain.data, eval: [{ path: "nobody/rows-x" }] } },
    "data.eval[0].path: nobody/rows-x is not on this machine",
  ],
  ["a rate that is none", { ...plain, learning_rate: 0 }, "learning_rate: expected"],
])("what a run cannot be made of is told at once: %s", async (_, config, words) => {
  const { status, text } = await post("/api/jobs", { name: "hasty", config })
  const { message } = JSON.parse(text).error
  expect([status, message.slice(0, words.length)]).toEqual([400, words])
  expect((await post("/api/probe", { config })).status).toBe(400)
})

test("a config that is wrong is refused by its key before anything waits", async () => {
  const { status, text } = await post("/api/jobs", {
    name: "fine",
    config: { ...plain, lerning_rate: 1 },
  })
  expect(status).toBe(400)
  expect(text).toContain("lerning_rate")
  expect(existsSync(queuePath(dir, "queue.json"))).toBe(false)
})

test("a server with --read-only starts, stops, probes, tags and makes nothing", async () => {
  writeRun(dir, "quiet", { events: [startEvent] })
  for (const [path, body] of [
    ["/api/jobs", { name: "fine", config: plain }],
    ["/api/probe", { config: plain }],
    ["/api/example-data", {}],
    ["/api/jobs/x/cancel", {}],
    ["/api/runs/quiet/stop", {}],
    ["/api/runs/quiet/resume", {}],
    ["/api/runs/quiet/export", { to: "gguf" }],
    ["/api/runs/quiet/marks", { tags: [], archived: true }],
  ] as const) {
    expect([path, (await post(path, body, readOnly)).status]).toEqual([path, 403])
  }
  expect(existsSync(join(dir, "data"))).toBe(false)
  expect(existsSync(join(dir, "quiet/page"))).toBe(false)
})

/** Every POST that the server's source answers, with names in place of its parameters. */
const POSTS = readdirSync(SERVER)
  .flatMap((file) => [
    ...readFileSync(join(SERVER, file), "utf8").matchAll(/\.post\(\s*"([^"]+)"/g),
  ])
  .map(([, path]) => path!.replace(":name", "quiet").replace(":id", "x"))
  .map((path) => (path.startsWith("/api") ? path : `/v1${path}`))

test("every address that changes or computes asks for this origin, JSON and the token", async () => {
  const { port, token } = served
  const bearer = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" }
  expect(POSTS.length).toBeGreaterThan(15)
  for (const path of POSTS.filter((path) => path !== SESSION_PATH)) {
    const status = async (method: string, headers: Record<string, string>) =>
      (await ask(port, path, { method, headers, ...(method === "POST" ? { body: "{}" } : {}) }))
        .status
    expect([path, await status("POST", { ...bearer, Origin: "http://127.0.0.1:1" })]).toEqual([
      path,
      403,
    ])
    expect([path, await status("POST", { ...bearer, "Content-Type": "text/plain" })]).toEqual([
      path,
      415,
    ])
    expect([path, await status("POST", { "Content-Type": "application/json" })]).toEqual([
      path,
      403,
    ])
    const same = { "Content-Type": "application/json", Origin: `http://127.0.0.1:${port}` }
    expect([path, await status("POST", same)]).toEqual([path, 401])
    if (path === "/api/jobs") continue // the list
    expect([path, (await ask(port, path, { headers: bearer })).status]).toEqual([path, 404])
  }
})

test("tags are texts, a few and short", async () => {
  for (const marks of [
    { tags: ["x".repeat(41)], archived: false },
    { tags: "a", archived: false },
    { tags: Array(21).fill("a"), archived: false },
    { tags: [] },
  ]) {
    expect((await post("/api/runs/quiet/marks", marks)).status).toBe(400)
  }
  expect((await post("/api/runs/quiet/marks", { tags: ["<img>"], archived: true })).status).toBe(
    200,
  )
  expect(JSON.parse(readFileSync(join(dir, "quiet/page/marks.json"), "utf8")).tags).toEqual([
    "<img>",
  ])
})

test("an export goes into the run, by words that the verb has, and not where a link leads", async () => {
  const run = writeRun(dir, "linked", { events: [startEvent, endEvent(1)] })
  const asked = (body: object) => post("/api/runs/linked/export", body)
  for (const body of [
    { to: "zip" },
    { to: "gguf", type: "../q8_0" },
    { to: "gguf", out: "/tmp/x" },
    { to: "merged", dtype: "f64" },
    {},
  ]) {
    expect([body, (await asked(body)).status]).toEqual([body, 400])
  }
  expect((await asked({ to: "gguf", checkpoint: 5 })).text).toContain("no checkpoint of step 5")
  expect((await asked({ to: "gguf", checkpoint: "../../x" })).status).toBe(400)
  symlinkSync(dir, join(run, "export"))
  const { status, text } = await asked({ to: "gguf" })
  expect(status).toBe(409)
  expect(text).toContain("found a link")
  rmSync(join(run, "export"))
  mkdirSync(join(run, "export/gguf"), { recursive: true })
  expect((await asked({ to: "gguf" })).text).toContain("is there already")
  symlinkSync("/nowhere", join(run, "export/gguf/gone"))
  const { port, token } = served
  const headers = { Authorization: `Bearer ${token}` }
  expect((await ask(port, "/api/runs/linked/exports", { headers })).status).toBe(200)
  expect(existsSync(queuePath(dir, "queue.json"))).toBe(false)
})

test("a run as one file is made of its events, and goes out sandboxed", async () => {
  const run = writeRun(dir, "reported", { events: [startEvent, endEvent(1)] })
  writeFileSync(join(run, "report.html"), "<script>alert(1)</script>")
  const { port, token } = served
  const headers = { Authorization: `Bearer ${token}` }
  const answer = await ask(port, "/api/runs/reported/report", { headers })
  expect(answer.status).toBe(200)
  expect(answer.headers).toMatchObject({
    "content-security-policy": "sandbox",
    "content-disposition": 'attachment; filename="report.html"',
    "x-content-type-options": "nosniff",
  })
  expect(answer.text).toContain("Figures")
  expect(answer.text).not.toContain("alert(1)")
})

test("a stranger's folder beside the others: a list stays whole, and no link out of it is read", async () => {
  const run = writeRun(dir, "secretive", { events: [startEvent, endEvent(1)] })
  const secret = join(newFolder(), "secret.jsonl")
  writeFileSync(secret, '{"completion": "SECRET"}\n')
  rmSync(join(run, "samples.jsonl"), { force: true })
  symlinkSync(secret, join(run, "samples.jsonl"))
  symlinkSync(newFolder(), join(run, "page"))
  mkdirSync(join(dir, "odd/events.jsonl"), { recursive: true })
  const { port, token } = served
  const headers = { Authorization: `Bearer ${token}` }
  const listed = await ask(port, "/api/runs", { headers })
  expect(listed.status).toBe(200)
  const names = (JSON.parse(listed.text).runs as { name: string }[]).map(({ name }) => name)
  expect(names).toContain("secretive")
  expect(names).not.toContain("odd")
  const samples = await ask(port, "/api/runs/secretive/samples", { headers })
  expect([samples.status, samples.text.includes("SECRET")]).toEqual([400, false])
  expect(samples.text).toContain("samples.jsonl: is a link to")
  const marked = await post("/api/runs/secretive/marks", { tags: ["a"], archived: false })
  expect([marked.status, marked.text.includes("page: is a link to")]).toEqual([400, true])
})
