/** Reads mutants one after the other and tells its parent of each: `TARGET FROM TO SEED FOLDER`. */
import { InputError } from "../src/errors.ts"
import { drawer } from "./random.ts"
import { TARGETS } from "./targets/index.ts"

export interface Told {
  readonly mutant: number
  readonly outcome: "accepted" | "refused" | "uncontrolled"
  /** Of this process: machines may be busy. */
  readonly ms: number
  /** Of an uncontrolled error. */
  readonly error?: string
}

const [name, from, to, seed, folder] = process.argv.slice(2)
const target = TARGETS[name!]!(folder!)
/** Before the first mutant, right files of every kind: a target that refuses them tries nothing. */
const STILL = 8
const tell = (told: Told) => new Promise<void>((done) => process.send!(told, () => done()))

/** A promise that nobody waits for is an error that a program cannot catch. */
let stray: unknown
process.on("unhandledRejection", (error) => (stray = error))

const first = Number(from)
for (let mutant = first === 0 ? -STILL : first; mutant < Number(to); mutant++) {
  const began = process.cpuUsage()
  let error: unknown
  try {
    await target(drawer(Number(seed) * 1_000_003 + mutant, { still: mutant < 0 }))
  } catch (thrown) {
    error = thrown
  }
  const { user, system } = process.cpuUsage(began)
  const ms = (user + system) / 1000
  await new Promise((done) => setImmediate(done))
  error = stray ?? error
  stray = undefined
  const refused = mutant >= 0 && error instanceof InputError
  const outcome = error === undefined ? "accepted" : refused ? "refused" : "uncontrolled"
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  const where = error instanceof Error ? (error.stack ?? "").split("\n    at ")[1] : undefined
  const shown = `${text.slice(0, 200)}${where === undefined ? "" : ` (${where.slice(0, 120)})`}`
  await tell({ mutant, outcome, ms, ...(outcome === "uncontrolled" ? { error: shown } : {}) })
}
process.exit(0)
