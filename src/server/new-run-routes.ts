/** New runs from the page: what there is to choose, what `probe` says of it, and into the queue. */
import { spawn } from "node:child_process"
import { randomUUID } from "node:crypto"
import { existsSync, readdirSync, rmSync } from "node:fs"
import { join, resolve } from "node:path"
import { Hono } from "hono"
import { z } from "zod"
import { configFrom } from "../config/load-config.ts"
import { writeDemoData } from "../demo/data.ts"
import { isObject } from "../formats/json.ts"
import type { ownCommand } from "../host/own-command.ts"
import { bodyAs } from "./body.ts"
import type { JobQueue } from "./job-queue.ts"
import type { Lanes } from "./lanes.ts"
import type { ServedModels } from "./models.ts"
import { BUNDLED_MODEL } from "./page-files.ts"
import { queuePath, writeJobConfig } from "./queue-file.ts"
import { refusal } from "./refusal.ts"
import { folderOfRuns } from "./run-folders.ts"
import { expectInputs } from "./run-inputs.ts"
import { changing } from "./run-routes.ts"
import { type Allowed, checkStart } from "./start-checks.ts"

export interface NewRunOptions {
  readonly dir: string
  readonly readOnly: boolean
  readonly queue: JobQueue
  readonly lanes: Lanes
  readonly models: ServedModels
  readonly allowed: Allowed
  readonly env: NodeJS.ProcessEnv
  readonly command: typeof ownCommand
}

export interface Choices {
  /** Registered ones with their folders; `name` is what people call them. */
  readonly models: readonly { readonly name: string; readonly path: string }[]
  /** Files of rows in the folder of runs, in its `data/`, and where the server was started. */
  readonly data: readonly string[]
}

const ROWS_FILE = /\.(jsonl|json|csv|parquet)$/
const MOST_FILES = 200
/** A probe computes at most this long; ms. */
const MOST_PROBE_MS = 300_000
const MOST_OUTPUT = 2 ** 20

/** Of the example's rows. */
const EXAMPLE_SIZES = { trainRows: 400, questions: 60, newFacts: 20 }

const name = z.string().regex(/^[A-Za-z0-9][\w.-]{0,79}$/, "letters, digits, . _ - (at most 80)")
const probeAsked = z.strictObject({ config: z.record(z.string(), z.unknown()) })
const runAsked = probeAsked.extend({ name })

/** Where a run writes and how it begins is the server's to say. */
const OWN_KEYS = ["output_dir", "resume", "overwrite_output_dir", "keep_rows"] as const

export function newRunRoutes(options: NewRunOptions): Hono {
  const { readOnly, queue, lanes, models, allowed, env, command } = options
  const dir = folderOfRuns(options.dir)

  /** @throws the 403 or 400 of what a page may not ask for, or no run can be */
  async function checked(config: Readonly<Record<string, unknown>>, output: string) {
    for (const key of OWN_KEYS) {
      if (key in config) throw refusal(400, `${key}: is not for a page to set`, { param: key })
    }
    checkStart(config, allowed)
    const whole = { ...config, output_dir: output }
    // an InputError says which key is wrong
    const parsed = configFrom({ value: whole, locate: () => "" }, { folder: dir })
    await expectInputs(parsed, { downloads: !env.HF_HUB_OFFLINE })
    return whole
  }

  return new Hono()
    .get("/api/choices", async (c) => {
      const registered = (await models.list()).map(({ id, path }) => ({ name: id, path }))
      const bundled = { name: "the bundled model (1 M parameters)", path: BUNDLED_MODEL }
      const choices: Choices = { models: [bundled, ...registered], data: rowFiles(dir) }
      return c.json(choices)
    })
    .post("/api/example-data", async (c) => {
      changing(readOnly)
      const [task] = await writeDemoData(join(dir, "data"), EXAMPLE_SIZES)
      return c.json({ train: task!.train, eval: task!.eval })
    })
    .post("/api/jobs", async (c) => {
      changing(readOnly)
      const { name, config } = await bodyAs(runAsked, c)
      const output = join(dir, name)
      if (existsSync(output) || queue.has(name)) {
        throw refusal(409, `name: "${name}" is taken in this folder; give another`, {
          param: "name",
        })
      }
      const whole = await checked(config, output)
      return c.json(queue.add({ run: name, resume: false, config: whole }))
    })
    .post("/api/probe", async (c) => {
      changing(readOnly)
      const { config } = await bodyAs(probeAsked, c)
      const id = `probe-${randomUUID()}`
      const whole = await checked(config, join(dir, id))
      const giveBack = await lanes.take(c.req.raw.signal)
      writeJobConfig(dir, id, whole)
      try {
        const probe = command("probe", queuePath(dir, `${id}.json`), "--json")
        return c.json(await probed(probe, c.req.raw.signal, env))
      } finally {
        rmSync(queuePath(dir, `${id}.json`), { force: true })
        giveBack()
      }
    })
}

/** In a process of its own: its memory goes with it, and it ends with the request. */
function probed(
  [program, args]: ReturnType<typeof ownCommand>,
  asker: AbortSignal,
  env: NodeJS.ProcessEnv,
): Promise<object> {
  const signal = AbortSignal.any([asker, AbortSignal.timeout(MOST_PROBE_MS)])
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], env, signal })
  let [out, said] = ["", ""]
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    out += text
    if (out.length > MOST_OUTPUT) child.kill()
  })
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said = (said + text).slice(-2000)
  })
  return new Promise((resolved, failed) => {
    child.on("error", (error) =>
      failed(asker.aborted ? error : refusal(504, "the probe took too long")),
    )
    child.on("close", (code) => {
      if (code !== 0) return failed(refusal(400, said.trim() || "the probe failed"))
      const told: unknown = JSON.parse(out)
      if (isObject(told)) resolved(told)
      else failed(refusal(500, "the probe told nothing"))
    })
  })
}

function rowFiles(dir: string): string[] {
  const folders = [...new Set([dir, join(dir, "data"), resolve(".")])]
  return folders
    .filter((folder) => existsSync(folder))
    .flatMap((folder) =>
      readdirSync(folder, { withFileTypes: true })
        .filter((entry) => entry.isFile() && ROWS_FILE.test(entry.name))
        .map((entry) => join(folder, entry.name)),
    )
    .slice(0, MOST_FILES)
}
