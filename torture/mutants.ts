/** Mutants of every format, read in a process with a bound on time and memory. */
import { fork } from "node:child_process"
import { mkdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import type { Told } from "./mutant-worker.ts"
import { TARGETS } from "./targets/index.ts"
import type { Trial } from "./trial.ts"

const WORKER = fileURLToPath(new URL("./mutant-worker.ts", import.meta.url))
/** Of a processor: more is a hang. Waiting is one after a minute: a busy machine gives little. */
const HANG_MS = 8000
const WAIT_MS = 60_000
const MAX_BYTES = 1.5e9
/** A process reads so many: what leaks shows, and what a death takes with it is little. */
const BATCH = 10_000

interface Batch {
  /** The first that was not read. */
  readonly next: number
  /** Why the process ended before all were. */
  readonly death: string | undefined
}

/** Bytes, and milliseconds of a processor, that a process has used. */
function used(pid: number | undefined): { rss: number; ms: number } {
  try {
    const rss = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1])
    // behind the name, which may hold spaces: utime and stime are the 14th and 15th (proc(5))
    const times = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ")
    return { rss: rss * 1024, ms: (Number(times[11]) + Number(times[12])) * TICK_MS }
  } catch {
    return { rss: 0, ms: 0 } // not Linux, or gone
  }
}

/** Of the kernel's clock, 100 a second wherever Node runs. */
const TICK_MS = 10

function readBatch(
  args: readonly string[],
  from: number,
  { until, onTold }: { until: number; onTold: (told: Told) => void },
): Promise<Batch> {
  const child = fork(WORKER, args, {
    execArgv: ["--max-old-space-size=900", "--import", "tsx"],
    stdio: ["ignore", "ignore", "ignore", "ipc"],
  })
  let next = from
  let last = Date.now()
  let lastMs = 0
  let death: string | undefined
  let begun = false
  const end = (why: string | undefined) => {
    death ??= why
    child.kill("SIGKILL")
  }
  const watch = setInterval(() => {
    const waited = Date.now() - last
    const { rss, ms } = used(child.pid)
    if (begun && ms - lastMs > HANG_MS) end(`hang (over ${HANG_MS / 1000} s)`)
    if (begun && waited > WAIT_MS) end(`waits (over ${WAIT_MS / 1000} s)`)
    if (!begun && waited > 2 * WAIT_MS) end("did not start")
    if (rss > MAX_BYTES) end(`over ${MAX_BYTES / 1e9} GB`)
    if (Date.now() > until) child.kill("SIGKILL")
  }, 100)
  child.on("message", (told: Told) => {
    begun = true
    last = Date.now()
    lastMs = used(child.pid).ms
    next = told.mutant + 1
    onTold(told)
  })
  return new Promise((done) => {
    child.on("exit", (code, signal) => {
      clearInterval(watch)
      const late = Date.now() > until
      // Node ends well when nothing is left to wait for, and so it does behind a lost promise
      const lost = code === 0 && next < Number(args[2]) ? "waits for what never comes" : undefined
      const died = code === 0 || late ? undefined : `died (${signal ?? code})`
      done({ next, death: death ?? (late ? undefined : (lost ?? died)) })
    })
  })
}

/** A process takes seconds to start: with little time some formats are tried, others by another seed. */
const LEAST_MS = 6000

function affordable(names: readonly string[], { seed, ms }: { seed: number; ms: number }) {
  const first = seed % names.length
  const turned = [...names.slice(first), ...names.slice(0, first)]
  return turned.slice(0, Math.max(1, Math.floor(ms / LEAST_MS)))
}

export const mutants: Trial = async ({ seed, count, until, folder, say, kinds }) => {
  const failures: string[] = []
  const figures: Record<string, string> = {}
  let tried = 0
  const unknown = kinds?.find((kind) => !(kind in TARGETS))
  if (unknown !== undefined) {
    return { tried, figures, failures: [`no format "${unknown}": ${Object.keys(TARGETS)}`] }
  }
  const names = kinds ?? affordable(Object.keys(TARGETS), { seed, ms: until - Date.now() })
  for (const [i, name] of names.entries()) {
    const began = Date.now()
    const share = began + (until - began) / (names.length - i)
    const work = join(folder, String(i))
    mkdirSync(work)
    const seen = { accepted: 0, refused: 0, uncontrolled: 0, deaths: 0, slowest: 0, slow: 0 }
    const errors = new Map<string, string>()
    let from = 0
    while (from < count && Date.now() < share) {
      const to = Math.min(count, from + BATCH)
      const args = [name, String(from), String(to), String(seed), work]
      const { next, death } = await readBatch(args, from, {
        until: share,
        onTold: ({ outcome, ms, mutant, error }) => {
          if (mutant >= 0 || outcome !== "accepted") seen[outcome]++
          if (ms > seen.slowest) Object.assign(seen, { slowest: ms, slow: mutant })
          if (error === undefined) return
          const kind = error.replaceAll(/\d+/g, "N").slice(0, 60)
          if (errors.has(kind)) return
          errors.set(kind, `${name}, seed ${seed}, mutant ${mutant}: ${error}`)
          say(`mutants: ${errors.get(kind)}`)
        },
      })
      if (death !== undefined) {
        seen.deaths++
        failures.push(`${name}, seed ${seed}, mutant ${next}: ${death}`)
        say(`mutants: ${failures.at(-1)}`)
        from = next + 1
      } else from = next
      if (death === "did not start") break
    }
    failures.push(...errors.values())
    const read = seen.accepted + seen.refused + seen.uncontrolled
    tried += read + seen.deaths
    figures[name] =
      `${read} (accepted ${seen.accepted}, refused ${seen.refused}, uncontrolled ${seen.uncontrolled}, deaths ${seen.deaths}, slowest ${seen.slowest.toFixed(0)} ms: ${seen.slow}; ${Math.round((Date.now() - began) / 1000)} s)`
    say(`mutants: ${name}: ${figures[name]}`)
  }
  return { tried, figures, failures }
}
