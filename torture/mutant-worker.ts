/** Reads mutants one after the other and tells its parent of each: `TARGET FROM TO SEED FOLDER`. */
import { performance } from "node:perf_hooks"
import { InputError } from "../src/errors.ts"
import { drawer } from "./random.ts"
import { TARGETS } from "./targets.ts"

export interface Told {
  readonly mutant: number
  readonly outcome: "accepted" | "refused" | "uncontrolled"
  readonly ms: number
  /** Of an uncontrolled error. */
  readonly error?: string
}

const [name, from, to, seed, folder] = process.argv.slice(2)
const target = TARGETS[name!]!(folder!)
const tell = (told: Told) => new Promise<void>((done) => process.send!(told, () => done()))

/** A promise that nobody waits for is an error that a program cannot catch. */
let stray: unknown
process.on("unhandledRejection", (error) => (stray = error))

for (let mutant = Number(from); mutant < Number(to); mutant++) {
  const began = performance.now()
  let error: unknown
  try {
    await target(drawer(Number(seed) * 1_000_003 + mutant))
  } catch (thrown) {
    error = thrown
  }
  const ms = performance.now() - began
  await new Promise((done) => setImmediate(done))
  error = stray ?? error
  stray = undefined
  const outcome =
    error === undefined ? "accepted" : error instanceof InputError ? "refused" : "uncontrolled"
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  const where = error instanceof Error ? (error.stack ?? "").split("\n    at ")[1] : undefined
  const shown = `${text.slice(0, 200)}${where === undefined ? "" : ` (${where.slice(0, 120)})`}`
  await tell({ mutant, outcome, ms, ...(outcome === "uncontrolled" ? { error: shown } : {}) })
}
process.exit(0)
