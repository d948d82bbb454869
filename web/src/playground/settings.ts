import * as z from "zod/mini"
import { formulaObjective } from "../../../src/objectives/formula.ts"
import type { Objective } from "../../../src/objectives/objective.ts"

export const TASKS = ["noisy", "facts", "own"] as const
export type TaskName = (typeof TASKS)[number]

export const DEVICES = ["auto", "wasm", "webgpu"] as const

const formula = z.string().check(
  z.maxLength(500),
  z.refine((text) => problemOf(text) === undefined, "is no formula of a loss"),
)

/** All that a link carries: no rows, no addresses. */
const schema = z.strictObject({
  a: formula,
  b: formula,
  task: z.enum(TASKS),
  /** Share of the training solutions with a wrong step. */
  noise: z.number().check(z.minimum(0), z.maximum(1)),
  learningRate: z.number().check(z.minimum(1e-6), z.maximum(0.1)),
  /** Of the adapter; 0 trains the whole model. */
  rank: z.int().check(z.minimum(0), z.maximum(64)),
  steps: z.int().check(z.minimum(1), z.maximum(1000)),
  /** Rows of a step; links of before do not say. */
  batchSize: z._default(z.int().check(z.minimum(1), z.maximum(64)), 32),
  seed: z.int().check(z.minimum(0), z.maximum(1e6)),
  /** auto: WebAssembly for the bundled model; for one of one's own WebGPU where there is one. */
  device: z.enum(DEVICES),
})

export type Settings = z.infer<typeof schema>

export const DEFAULTS: Settings = {
  a: "nll",
  b: "sg(p) * nll",
  task: "noisy",
  noise: 0.3,
  learningRate: 2e-3,
  rank: 8,
  steps: 60,
  batchSize: 32,
  seed: 1,
  device: "auto",
}

/** Losses to begin with, as formulas. */
export const PRESETS: readonly (readonly [name: string, formula: string])[] = [
  ["SFT", "nll"],
  ["DFT", "sg(p) * nll"],
  ["DFT, weight at least 0.1", "sg(max(p, 0.1)) * nll"],
  ["DFT, end of turn kept", "sg(where(token_class > 0, 1, p)) * nll"],
  ["square root of p", "sg(p ^ 0.5) * nll"],
  ["1 - p (the same gradient as DFT)", "1 - p"],
  ["focal", "sg((1 - p) ^ 2) * nll"],
  ["only what is likely", "sg(p > 0.1) * nll"],
  ["SFT, then DFT", "sg(where(progress < 0.3, 1, p)) * nll"],
]

export function objectiveOf(text: string): Objective {
  return formulaObjective("formula", text)
}

/** What is wrong with a formula, in words; undefined when it is one. */
export function problemOf(text: string): string | undefined {
  try {
    objectiveOf(text)
    return undefined
  } catch (error) {
    return (error as Error).message.replace(/^(formula|objective formula)[,:]? ?/, "")
  }
}

const MOST_CHARACTERS = 4096
const PREFIX = "#s="

/** The settings as the end of a link to this page. */
export function linkOf(settings: Settings): string {
  const bytes = new TextEncoder().encode(JSON.stringify(settings))
  const text = btoa(String.fromCharCode(...bytes))
  return PREFIX + text.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "")
}

/** The settings of a link's end; a link that holds something else is refused whole. */
export function settingsOf(hash: string): { settings: Settings; problem?: string } {
  if (!hash.startsWith(PREFIX)) return { settings: DEFAULTS }
  const refused = (why: string) => ({
    settings: DEFAULTS,
    problem: `The link's settings were not taken: ${why}.`,
  })
  if (hash.length > MOST_CHARACTERS) return refused("it is longer than 4 kB")
  let value: unknown
  try {
    const text = atob(hash.slice(PREFIX.length).replaceAll("-", "+").replaceAll("_", "/"))
    value = JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (c) => c.charCodeAt(0))))
  } catch {
    return refused("it is damaged")
  }
  const read = schema.safeParse(value)
  if (read.success) return { settings: read.data }
  const [issue] = read.error.issues
  return refused(`${issue?.path.join(".") || "they"}: ${issue?.message}`)
}
