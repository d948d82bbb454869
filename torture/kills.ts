/**
 * Runs that are killed at moments drawn by seed, started again with --resume each time, and held to
 * the bytes of the same run uninterrupted.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { readRun } from "../src/run/run-folder.ts"
import { type Draw, drawer } from "./random.ts"
import { RUNS, writeRows } from "./runs.ts"
import type { Trial, TrialOptions } from "./trial.ts"

const ROOT = fileURLToPath(new URL("..", import.meta.url))
const BUILT = join(ROOT, "dist/commands/main.js")
const NODE = existsSync(BUILT) ? [BUILT] : ["--import", "tsx", join(ROOT, "src/commands/main.ts")]

/** What a run is doing while such a name lies below it or the cache; a kill leaves it there. */
const WRITES = ["preparation", "checkpoint", "result"] as const
/** Where in a run's life a kill is aimed. */
const PHASES = ["anywhere", ...WRITES] as const
type Phase = (typeof PHASES)[number]
type Write = (typeof WRITES)[number]

const named = (folder: string, pattern: RegExp) =>
  existsSync(folder) ? readdirSync(folder).filter((name) => pattern.test(name)) : []

function halfWritten(write: Write, { output, cache }: Scene): string[] {
  if (write === "preparation") return named(join(cache, "prepared"), /\.tmp$/)
  if (write === "checkpoint") return named(join(output, "checkpoints"), /^\.step-/)
  return named(output, /^model\..*\.tmp$/)
}

/** Whether something is half written now that was not when the process began. */
function underWay(write: Write, scene: Scene, before: readonly string[]): boolean {
  return halfWritten(write, scene).some((name) => !before.includes(name))
}

interface Scene {
  readonly folder: string
  readonly variant: string
  readonly output: string
  readonly cache: string
}

function start({ folder, variant, output, cache }: Scene): ChildProcess {
  const { rows = "sums.jsonl", settings } = RUNS[variant]!
  const config = {
    model: join(folder, "model-start"),
    data: { train: [join(folder, rows)], max_length: 64 },
    batch_size: 4,
    micro_batch_tokens: 128,
    learning_rate: 1e-3,
    max_steps: 8,
    save_steps: 2,
    save_total_limit: 2,
    eval_steps: 0,
    engine: { name: "onnx", device: "cpu", threads: 1 },
    output_dir: output,
    resume: true,
    ...settings,
  }
  const file = `${output}.json`
  writeFileSync(file, JSON.stringify(config))
  return spawn(process.execPath, [...NODE, "train", file], {
    cwd: ROOT,
    env: { ...process.env, DFTUNE_CACHE: cache, TSX_DISABLE_CACHE: "1" },
    stdio: ["ignore", "ignore", "pipe"],
  })
}

interface Kill {
  /** What it was really doing: aimed kills come late at times. */
  readonly during: Phase
  /** Whether it had itself gone on from a checkpoint. */
  readonly resumed: boolean
}

/** Kills the run when its moment has come; undefined when it ended before. */
async function killed(
  scene: Scene,
  { aim, draw, life }: { aim: Phase; draw: Draw; life: number },
): Promise<Kill | undefined> {
  const before = WRITES.map((write) => halfWritten(write, scene))
  const resumed = named(join(scene.output, "checkpoints"), /^step-/).length > 0
  const child = start(scene)
  let ended = false
  const end = new Promise<void>((done) => {
    child.on("exit", () => {
      ended = true
      done()
    })
  })
  child.stderr!.resume()
  const pause = (ms: number) => Promise.race([end, new Promise((done) => setTimeout(done, ms))])
  if (aim === "anywhere") await pause(draw() * life)
  else {
    while (!ended && !underWay(aim, scene, before[WRITES.indexOf(aim)]!)) await pause(1)
    await pause(draw() * AIMED_MS)
  }
  const alive = !ended
  child.kill("SIGKILL")
  await end
  if (!alive) return undefined
  const during = WRITES.find((write, i) => underWay(write, scene, before[i]!))
  return { during: during ?? "anywhere", resumed }
}

/** From a write's beginning: about as long as one takes. */
const AIMED_MS = 12

async function finished(scene: Scene): Promise<{ code: number | null; said: string; ms: number }> {
  const began = Date.now()
  const child = start(scene)
  let said = ""
  child.stderr!.on("data", (text) => (said += text))
  const code = await new Promise<number | null>((done) => child.on("exit", done))
  return { code, said, ms: Date.now() - began }
}

/** The bytes of the result and the losses of every step. */
function outcome(output: string): string {
  const hash = createHash("sha256")
  for (const name of readdirSync(join(output, "model")).sort()) {
    hash.update(`${name}\0`).update(readFileSync(join(output, "model", name)))
  }
  const steps = readRun(output).events.filter((event) => event.type === "step")
  const told = steps.map(({ step, loss, nll, grad_norm }) => [step, loss, nll, grad_norm])
  return hash.update(JSON.stringify(told)).digest("hex").slice(0, 16)
}

function leftovers(output: string): string[] {
  const own = readdirSync(output).filter((name) => /\.tmp$|\.lock/.test(name))
  const checkpoints = readdirSync(join(output, "checkpoints")).filter((n) => n.startsWith("."))
  return [...own, ...checkpoints]
}

function twice(output: string): string | undefined {
  const seen = new Set<string>()
  for (const event of readRun(output).events) {
    if (event.type !== "step" && !["eval", "histogram", "rollout"].includes(event.type)) continue
    const name = "name" in event ? event.name : "rollout" in event ? event.rollout : ""
    const key = `${event.type} ${event.step} ${name}`
    if (seen.has(key)) return key
    seen.add(key)
  }
  return undefined
}

export const kills: Trial = async ({ seed, count, until, folder, say, kinds }: TrialOptions) => {
  writeRows(folder)
  const draw = drawer(seed)
  const unknown = kinds?.find((kind) => !(kind in RUNS))
  if (unknown !== undefined) {
    const failures = [`no run "${unknown}": ${Object.keys(RUNS).join(", ")}`]
    return { tried: 0, figures: {}, failures }
  }
  const failures: string[] = []
  const kindsKilled: Record<string, number> = {}
  const done: Record<Phase, number> = { anywhere: 0, preparation: 0, checkpoint: 0, result: 0 }
  const whole = new Map<string, { outcome: string; life: number }>()
  let runs = 0
  let resumed = 0
  const figures = () => ({
    runs,
    ...kindsKilled,
    ...{ "killed in preparation": done.preparation, "in a checkpoint": done.checkpoint },
    ...{ "in the final write": done.result, elsewhere: done.anywhere },
    "of processes that had resumed": resumed,
  })
  const total = () => Object.values(done).reduce((sum, one) => sum + one, 0)
  while (total() < count && Date.now() < until) {
    const names = kinds ?? Object.keys(RUNS)
    const variant = names[(seed + runs) % names.length]!
    const scene = (name: string): Scene => ({
      folder,
      variant,
      output: join(folder, name),
      cache: join(folder, `cache-${name}`),
    })
    let expected = whole.get(variant)
    if (expected === undefined) {
      const reference = scene(`whole-${variant}`)
      const { code, said, ms } = await finished(reference)
      if (code !== 0) {
        failures.push(`${variant}, uninterrupted: exit ${code}: ${said.slice(-300)}`)
        break
      }
      expected = { outcome: outcome(reference.output), life: ms }
      whole.set(variant, expected)
    }
    runs++
    const here = scene(`run-${runs}`)
    const told = `seed ${seed}, run ${runs} (${variant})`
    mkdirSync(here.cache, { recursive: true })
    for (let left = 1 + draw.whole(4); left > 0 && total() < count; left--) {
      const aim = draw.of(PHASES)
      if (aim === "preparation") rmSync(here.cache, { recursive: true, force: true })
      const kill = await killed(here, { aim, draw, life: expected.life })
      if (kill === undefined) continue
      done[kill.during]++
      resumed += Number(kill.resumed)
      kindsKilled[variant] = (kindsKilled[variant] ?? 0) + 1
    }
    const { code, said } = await finished(here)
    const before = failures.length
    if (code !== 0) failures.push(`${told}: exit ${code}: ${said.slice(-300)}`)
    else {
      if (outcome(here.output) !== expected.outcome) failures.push(`${told}: other bytes or losses`)
      const left = [...leftovers(here.output), ...halfWritten("preparation", here)]
      if (left.length > 0) failures.push(`${told}: left ${left.join(", ")}`)
      const again = twice(here.output)
      if (again !== undefined) failures.push(`${told}: told twice of ${again}`)
    }
    for (const failure of failures.slice(before)) say(`kills: ${failure}`)
    rmSync(here.output, { recursive: true, force: true })
    rmSync(here.cache, { recursive: true, force: true })
    if (runs % 5 === 0) {
      const so = JSON.stringify(figures()).replaceAll('"', "")
      say(`kills: ${total()} of ${count}, ${failures.length} failures: ${so}`)
    }
  }
  return { tried: total(), figures: figures(), failures }
}
