/**
 * Evaluations (`dftune eval --out`) that lie in the folder of runs, and two of them item by item.
 */
import { readdirSync, statSync } from "node:fs"
import { join, relative, sep } from "node:path"
import { Hono } from "hono"
import { z } from "zod"
import { isEvaluation } from "../evaluate/compare-evaluations.ts"
import { comparedItems, evaluatedSuites } from "../evaluate/item-comparison.ts"
import { bodyAs } from "./body.ts"
import { refusal } from "./refusal.ts"

export interface ToldEvaluation {
  readonly name: string
  readonly suites: readonly {
    readonly suite: string
    readonly score: number
    readonly problems: number
  }[]
}

/** Folders below the folder of runs in which evaluations are looked for. */
const MOST_DEPTH = 3
const MOST_EVALUATIONS = 500

const asked = z.strictObject({ a: z.string(), b: z.string(), suite: z.string() })

/** Paths below `dir` with an evaluation, by name. Links are not followed. */
function evaluationsIn(dir: string): Map<string, string> {
  const found = new Map<string, string>()
  const walk = (folder: string, depth: number) => {
    if (found.size >= MOST_EVALUATIONS) return
    if (isEvaluation(folder)) found.set(relative(dir, folder).split(sep).join("/") || ".", folder)
    if (depth === MOST_DEPTH) return
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const skipped =
        entry.name.startsWith(".") || ["checkpoints", "model", "page"].includes(entry.name)
      if (entry.isDirectory() && !skipped) walk(join(folder, entry.name), depth + 1)
    }
  }
  walk(dir, 0)
  return found
}

export function evaluationRoutes({ dir }: { readonly dir: string }): Hono {
  return new Hono()
    .get("/api/evaluations", async (c) => {
      const told: ToldEvaluation[] = []
      for (const [name, folder] of [...evaluationsIn(dir)].sort(byTime)) {
        const suites = await evaluatedSuites(folder).catch(() => undefined)
        if (suites) told.push({ name, suites }) // others are no evaluation of ours
      }
      return c.json({ evaluations: told })
    })
    .post("/api/evaluations/compare", async (c) => {
      const { a, b, suite } = await bodyAs(asked, c)
      const all = evaluationsIn(dir)
      const folders = [a, b].map((name) => {
        const folder = all.get(name)
        if (folder) return folder
        throw refusal(404, `there is no evaluation "${name}" in the folder of this server`)
      })
      return c.json(await comparedItems([folders[0]!, folders[1]!], suite))
    })
}

const byTime = ([, a]: [string, string], [, b]: [string, string]) =>
  statSync(b).mtimeMs - statSync(a).mtimeMs
