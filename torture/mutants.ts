/** Mutants of every format, read in a process with a bound on time and memory. */
import { fork } from "node:child_process"
import { mkdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import type { Told } from "./mutant-worker.ts"
import { TARGETS } from "./targets.ts"
import type { Trial } from "./trial.ts"

const WORKER = fileURLToPath(new URL("./mutant-worker.ts", import.meta.url))
/** Longer is a hang; loaded machines are slow. */
const HANG_MS = 8000
const MAX_BYTES = 1.5e9
/** A process reads so many: what leaks shows, and what a death takes with it is little. */
const BATCH = 500

interface Batch {
  /** The first that was not read. */
  readonly next: number
  /** Why the process ended before all were. */
  readonly death: string | undefined
}

function rss(pid: number | undefined): number {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) * 1024
  } catch {
    return 0 // not Linux, or gone
  }
}

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
  let death: string | undefined
  let begun = false
  const end = (why: string | undefined) => {
    death ??= why
    child.kill("SIGKILL")
  }
  const watch = setInterval(() => {
    const waited = Date.now() - last
    if (begun && waited > HANG_MS) end(`hang (over ${HANG_MS / 1000} s)`)
    if (!begun && waited > 60_000) end("did not start")
    if (rss(child.pid) > MAX_BYTES) end(`over ${MAX_BYTES / 1e9} GB`)
    if (Date.now() > until) child.kill("SIGKILL")
  }, 100)
  child.on("message", (told: Told) => {
    begun = true
    last = Date.now()
    next = told.mutant + 1
    onTold(told)
  })
  return new Promise((done) => {
    child.on("exit", (code, signal) => {
      clearInterval(watch)
      const whole = code === 0 || Date.now() > until
      done({ next, death: death ?? (whole ? undefined : `died (${signal ?? code})`) })
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

export const mutants: Trial = async ({ seed, count, until, folder, say }) => {
  const failures: string[] = []
  const figures: Record<string, string> = {}
  let tried = 0
  const names = affordable(Object.keys(TARGETS), { seed, ms: until - Date.now() })
  for (const [i, name] of names.entries()) {
    const share = Date.now() + (until - Date.now()) / (names.length - i)
    const work = join(folder, String(i))
    mkdirSync(work)
    const seen = { accepted: 0, refused: 0, uncontrolled: 0, deaths: 0, slowest: 0 }
    const errors = new Map<string, string>()
    let from = 0
    while (from < count && Date.now() < share) {
      const to = Math.min(count, from + BATCH)
      const args = [name, String(from), String(to), String(seed), work]
      const { next, death } = await readBatch(args, from, {
        until: share,
        onTold: ({ outcome, ms, mutant, error }) => {
          seen[outcome]++
          seen.slowest = Math.max(seen.slowest, ms)
          if (error === undefined) return
          const kind = error.replaceAll(/\d+/g, "N").slice(0, 60)
          if (!errors.has(kind))
            errors.set(kind, `${name}, seed ${seed}, mutant ${mutant}: ${error}`)
        },
      })
      if (death !== undefined) {
        seen.deaths++
        failures.push(`${name}, seed ${seed}, mutant ${next}: ${death}`)
        from = next + 1
      } else from = next
      if (death === "did not start") break
    }
    failures.push(...errors.values())
    const read = seen.accepted + seen.refused + seen.uncontrolled
    tried += read + seen.deaths
    figures[name] =
      `${read} (accepted ${seen.accepted}, refused ${seen.refused}, uncontrolled ${seen.uncontrolled}, deaths ${seen.deaths}, slowest ${seen.slowest.toFixed(0)} ms)`
    say(`mutants: ${name}: ${figures[name]}`)
  }
  return { tried, figures, failures }
}
