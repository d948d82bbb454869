/**
 * Runs told to services: by MLflow's protocol, and to Python packages in a process of their own.
 */
import { execFile, spawn } from "node:child_process"
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import { train } from "../../src/engines/index.ts"
import type { RunEvent } from "../../src/run/events.ts"
import { openTrackers, type Tracker, type TrackerName } from "../../src/trackers/index.ts"
import { pythonWith } from "../python-with.ts"
import { sumRows, tinyModel } from "../train/tiny-model.ts"

const root = mkdtempSync(join(tmpdir(), "dftune-services-"))
afterAll(() => rmSync(root, { recursive: true, force: true }))
beforeAll(() => {
  process.env.DFTUNE_CACHE = join(root, "cache")
  tinyModel(root)
  sumRows(root, 40)
})
afterEach(() => vi.unstubAllEnvs())

const SECRET = "s3cret-of-the-test"

const config = (name: string, report_to: unknown, more: object = {}) =>
  parseConfig({
    model: join(root, "model-start"),
    data: { train: [{ path: join(root, "sums.jsonl") }], max_length: 64 },
    objective: "dft",
    ...{ batch_size: 4, micro_batch_tokens: 128, save_steps: 2, eval_steps: 0, max_steps: 4 },
    engine: { name: "onnx", device: "cpu", threads: 1 },
    report_to,
    output_dir: join(root, name),
    ...more,
  })

async function trained(
  run: ReturnType<typeof config>,
  trackers: readonly Tracker[] = [],
): Promise<RunEvent[]> {
  const events: RunEvent[] = []
  for await (const event of train(run, { trackers })) events.push(event)
  return events
}

const time = "2026-01-01T00:00:00.000Z"
const LOSSES = [1, 2, 3, 4].map((step) => [step, 1 / (step + 2)])
const STEPS = LOSSES.map(([step, loss]) => ({ type: "step", time, step: step!, loss, eos_p: null }))

/** What trackers say of a run of some steps that is told to them alone. */
async function toldOf(name: string, report_to: TrackerName[], { resumed = false } = {}) {
  const settings = { ...config(name, report_to) }
  const trackers = await openTrackers(report_to, { outputDir: join(root, name), settings })
  const failures: string[] = []
  const from = resumed ? 2 : 0
  const all = [{ type: "run.start", time, step: from }, ...STEPS.slice(from)]
  for (const event of all) failures.push(...trackers.see(event))
  trackers.see(Object.assign({ type: "run.end", time, step: 4 }, { reason: "done" }))
  return [...failures, ...(await trackers.close())]
}

const warnings = (events: readonly RunEvent[]) =>
  events.flatMap((event) =>
    event.type === "warning" && event.code === "tracker" ? [event.message] : [],
  )
const losses = (events: readonly RunEvent[]) =>
  events.flatMap((event) => (event.type === "step" ? [[event.step, event.loss]] : []))

/** Every file of a run, and its events: no key is in any. */
function expectNoKey(name: string, events: readonly RunEvent[]) {
  expect(JSON.stringify(events)).not.toContain(SECRET)
  const folder = join(root, name)
  for (const file of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!file.isFile()) continue
    expect(readFileSync(join(file.parentPath, file.name)).includes(SECRET)).toBe(false)
  }
}

interface Asked {
  readonly path: string
  readonly authorization: string | undefined
  // biome-ignore lint/suspicious/noExplicitAny: bodies of a protocol, looked at field by field
  readonly body: any
}

/** The part of MLflow's tracking server that is spoken here. */
async function fakeMlflow(refuse: (path: string) => number = () => 0) {
  const asked: Asked[] = []
  const server = createServer((request, response) => {
    let text = ""
    request.on("data", (part) => {
      text += part
    })
    request.on("end", () => {
      const path = request.url!.replace("/api/2.0/mlflow/", "")
      asked.push({
        path,
        authorization: request.headers.authorization,
        body: text && JSON.parse(text),
      })
      const status = refuse(path)
      const answer = status
        ? { error_code: "INTERNAL_ERROR", message: `no ${SECRET}` }
        : path.startsWith("experiments/get-by-name")
          ? { error_code: "RESOURCE_DOES_NOT_EXIST", message: "no such" }
          : path === "experiments/create"
            ? { experiment_id: "7" }
            : path === "runs/create"
              ? { run: { info: { run_id: "r1" } } }
              : {}
      response.writeHead(status || ("error_code" in answer ? 404 : 200)).end(JSON.stringify(answer))
    })
  })
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done))
  afterAll(() => server.close())
  vi.stubEnv("MLFLOW_TRACKING_URI", `http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  vi.stubEnv("MLFLOW_TRACKING_TOKEN", SECRET)
  return asked
}

test("MLflow is told settings, every step once, and the end; a resumed run goes on there", async () => {
  const asked = await fakeMlflow()
  const seen: string[] = []
  const own: Tracker = {
    name: "mine",
    see: ({ type }) => void seen.push(type),
    close: async () => void seen.push("closed"),
  }
  const breaking: Tracker = {
    name: "breaks",
    see: async ({ type }) => {
      if (type === "step") throw new Error("full")
    },
    close: () => {},
  }
  const events = await trained(config("flow", "mlflow"), [own, breaking])
  // what one's own tracker throws is one warning, and the others see every event
  expect(warnings(events)).toEqual(["breaks: full"])
  const kinds = events.filter((event) => event.type !== "warning" || event.code !== "tracker")
  expect(seen).toEqual([...kinds.map(({ type }) => type), "closed"])
  expect(asked.every(({ authorization }) => authorization === `Bearer ${SECRET}`)).toBe(true)
  expect(asked.slice(0, 3).map(({ path }) => path)).toEqual([
    "experiments/get-by-name?experiment_name=dftune",
    "experiments/create",
    "runs/create",
  ])
  expect(asked[2]!.body).toMatchObject({ experiment_id: "7", run_name: "flow" })
  const batches = asked.filter(({ path }) => path === "runs/log-batch").map(({ body }) => body)
  const params = batches.flatMap(({ params = [] }) => params)
  expect(params).toContainEqual({ key: "data.max_length", value: "64" })
  const told = (from: Asked[]) =>
    from
      .flatMap(({ body }) => body?.metrics ?? [])
      .filter(({ key }) => key === "train/loss")
      .map(({ step, value }) => [step, value])
  expect(told(asked)).toEqual(losses(events))
  expect(asked.at(-1)).toMatchObject({
    path: "runs/update",
    body: { run_id: "r1", status: "FINISHED" },
  })
  expectNoKey("flow", events)

  const before = asked.length
  const resume = join(root, "flow", "checkpoints", "step-000002")
  const again = await trained(config("flow", "mlflow", { resume }))
  const later = asked.slice(before)
  expect(later.some(({ path }) => path === "runs/create")).toBe(false)
  expect(told(later)).toEqual(losses(again))
  expect(losses(again).map(([step]) => step)).toEqual([3, 4])
})

test("a server that is not there is said at the start; one that fails later once", async () => {
  vi.stubEnv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
  const nobody = await openTrackers(["mlflow"], { outputDir: join(root, "nobody"), settings: {} })
  expect(nobody.see({ type: "run.start", time, step: 0 })).toEqual([
    expect.stringMatching(/^mlflow: http:\/\/127.0.0.1:9 does not answer/),
  ])
  await fakeMlflow((path) => (path === "runs/log-batch" ? 400 : 0))
  expect(await toldOf("failing", ["mlflow"])).toEqual([
    expect.stringMatching(/^mlflow: .*400 INTERNAL_ERROR: no \*\*\*/),
  ])
  expectNoKey("failing", [])
  vi.stubEnv("MLFLOW_TRACKING_URI", "")
  expect(await toldOf("unset", ["mlflow"])).toEqual([
    expect.stringMatching(/MLFLOW_TRACKING_URI is not set/),
  ])
})

const anyPython = pythonWith("json")
test.skipIf(anyPython === undefined)(
  `Python packages are told in a process of their own (${anyPython ?? "absent: no Python"})`,
  async () => {
    vi.stubEnv("DFTUNE_PYTHON", anyPython!)
    const packages = join(root, "packages")
    mkdirSync(packages, { recursive: true })
    // says what it is told in a file; prints, as packages do
    const stub = `
import json, os
def init(**given):
    class Run:
        id = given.get("id") or given["name"]
        def log(self, values, step): note("log", step, values["train/loss"])
        def finish(self, **how): note("finish", how)
    note("init", given["project"], given["resume"], "max_steps" in given["config"], Run.id)
    print("hello from the package")
    if os.environ.get("STUB_FAILS"): raise RuntimeError("refused " + os.environ["WANDB_API_KEY"])
    return Run()
def note(*what):
    with open(os.environ["STUB_FILE"], "a") as file: file.write(json.dumps(what) + "\\n")
`
    for (const name of ["wandb", "trackio"]) writeFileSync(join(packages, `${name}.py`), stub)
    vi.stubEnv("PYTHONPATH", packages)
    vi.stubEnv("WANDB_API_KEY", SECRET)
    const told = (file: string) => {
      const lines = readFileSync(file, "utf8").trim().split("\n")
      rmSync(file)
      return lines.map((line) => JSON.parse(line))
    }
    for (const name of ["wandb", "trackio"] as const) {
      const file = join(root, `${name}.told`)
      vi.stubEnv("STUB_FILE", file)
      expect(await toldOf(`py-${name}`, [name])).toEqual([])
      const [[_init, project, resume, hasSettings, id], ...rest] = told(file)
      expect([project, resume, hasSettings]).toEqual(["dftune", "allow", true])
      expect(rest.slice(0, -1)).toEqual(LOSSES.map((loss) => ["log", ...loss]))
      expect(rest.at(-1)).toEqual(["finish", name === "wandb" ? { exit_code: 0 } : {}])
      expectNoKey(`py-${name}`, [])
      await toldOf(`py-${name}`, [name], { resumed: true })
      expect(told(file)[0].at(-1)).toBe(id)
    }
    vi.stubEnv("STUB_FAILS", "1")
    expect(await toldOf("py-failing", ["wandb"])).toEqual(["wandb: RuntimeError: refused ***"])
    expectNoKey("py-failing", [])

    rmSync(join(packages, "wandb.py"))
    vi.stubEnv("PYTHONPATH", "")
    vi.stubEnv("DFTUNE_PYTHON", join(root, "no-python"))
    expect(await toldOf("py-none", ["trackio"])).toEqual([
      expect.stringMatching(/^trackio: .*no-python does not run/),
    ])
  },
  60_000,
)

const withMlflow = pythonWith("mlflow")
test.skipIf(withMlflow === undefined)(
  `MLflow's own server tells what it was told (${withMlflow ?? "absent: no Python with mlflow"})`,
  async () => {
    const store = `sqlite:///${join(root, "mlflow.db")}`
    const port = `${20_000 + (process.pid % 20_000)}`
    const uri = `http://127.0.0.1:${port}`
    const args = [
      "-m",
      "mlflow",
      "server",
      "--backend-store-uri",
      store,
      "--port",
      port,
      "--workers",
      "1",
    ]
    const server = spawn(withMlflow!, args, { stdio: "ignore", detached: true, cwd: root })
    try {
      const up = () =>
        fetch(`${uri}/health`).then(
          ({ ok }) => ok,
          () => false,
        )
      await expect.poll(up, { timeout: 100_000, interval: 500 }).toBe(true)
      vi.stubEnv("MLFLOW_TRACKING_URI", uri)
      expect(await toldOf("real-flow", ["mlflow"])).toEqual([])
      const { mlflow: id } = JSON.parse(
        readFileSync(join(root, "real-flow", "trackers.json"), "utf8"),
      )
      // biome-ignore lint/suspicious/noExplicitAny: answers of a protocol
      const ask = async (path: string): Promise<any> =>
        (await fetch(`${uri}/api/2.0/mlflow/${path}`)).json()
      const { metrics } = await ask(`metrics/get-history?run_id=${id}&metric_key=train/loss`)
      expect(
        metrics.map(({ step = 0, value }: Record<string, unknown>) => [Number(step), value]),
      ).toEqual(LOSSES)
      const { run } = await ask(`runs/get?run_id=${id}`)
      expect(run.info).toMatchObject({ status: "FINISHED", run_name: "real-flow" })
      expect(run.data.params).toContainEqual({ key: "batch_size", value: "4" })
    } finally {
      process.kill(-server.pid!, "SIGKILL")
    }
  },
  200_000,
)

for (const [name, read] of [
  ["wandb", "read-wandb.py"],
  ["trackio", "read-trackio.py"],
] as const) {
  const python = pythonWith(name)
  test.skipIf(python === undefined)(
    `${name} itself, offline, tells what it was told (${python ?? `absent: no Python with ${name}`})`,
    async () => {
      vi.stubEnv("DFTUNE_PYTHON", python!)
      vi.stubEnv("WANDB_MODE", "offline")
      vi.stubEnv("WANDB_DIR", root)
      vi.stubEnv("TRACKIO_DIR", join(root, "trackio"))
      expect(await toldOf(`real-${name}`, [name])).toEqual([])
      const kept = JSON.parse(readFileSync(join(root, `real-${name}`, "trackers.json"), "utf8"))
      const script = fileURLToPath(new URL(read, import.meta.url))
      const { stdout } = await promisify(execFile)(python!, [script, root, kept[name]])
      expect(JSON.parse(stdout.trim().split("\n").at(-1)!)).toEqual(LOSSES)
    },
    120_000,
  )
}
