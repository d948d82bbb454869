/** The rows of a run as data: where they come from, what is odd about them, and each as tokens. */
import { Hono } from "hono"
import { z } from "zod"
import { overlapLints, type Prepared } from "../data/index.ts"
import { rowHashesIn } from "../data/row-hashes.ts"
import { bodyAs } from "./body.ts"
import type { Lanes } from "./lanes.ts"
import { refusal } from "./refusal.ts"
import { namedRun } from "./run-routes.ts"
import { type LookedRun, lookedRun, preparedRows, rowSets, toldRow } from "./run-rows.ts"

const asked = z.strictObject({
  set: z.string(),
  from: z.int().min(0),
  count: z.int().min(1).max(50),
})

/** Groups of equal rows that are told. */
const MOST_GROUPS = 100
const MOST_PLACES = 20
/** Bars of the histogram of lengths. */
const LENGTH_BINS = 20

export type ToldData = Awaited<ReturnType<typeof toldData>>

export function dataRoutes({ dir, lanes }: { readonly dir: string; readonly lanes: Lanes }): Hono {
  return new Hono().post("/api/runs/:name/data", async (c) => {
    const { set, ...part } = await bodyAs(asked, c)
    const run = namedRun(c, dir)
    const giveBack = await lanes.take(c.req.raw.signal)
    try {
      const looked = await lookedRun(run)
      const rows = await preparedRows(looked, set)
      try {
        if (part.from > rows.rows) throw refusal(404, `from: the set has ${rows.rows} rows`)
        return c.json(await toldData(looked, rows, { set, ...part }))
      } finally {
        rows.close()
      }
    } finally {
      giveBack()
    }
  })
}

async function toldData(
  looked: LookedRun,
  rows: Prepared,
  { set, from, count }: z.infer<typeof asked>,
) {
  const { manifest } = rows
  const { data } = looked.config
  const weights = set === "train" ? data.train : data.eval
  const end = Math.min(rows.rows, from + count)
  return {
    rows: rows.rows,
    purpose: manifest.purpose,
    tokens: manifest.tokens,
    supervised_tokens: manifest.supervised_tokens,
    sources: manifest.sources,
    configured: weights.map(({ path, weight }) => ({ path, weight })),
    lints: [...manifest.lints, ...(set === "train" ? await overlapsOf(looked, rows) : [])],
    lengths: lengthBins(rows.lengths),
    duplicates: await duplicateRows(rows),
    page: Array.from({ length: end - from }, (_, i) => ({
      index: from + i,
      place: rows.place(from + i),
      sides: rows.sequences(from + i).map((row) =>
        toldRow(looked, {
          place: rows.place(from + i),
          tokenIds: [...row.tokenIds],
          lossMask: [...row.lossMask],
          tokenClass: [...row.tokenClass],
        }),
      ),
    })),
  }
}

async function overlapsOf(looked: LookedRun, train: Prepared) {
  const evals: string[] = []
  for (const set of rowSets(looked.config).slice(1)) {
    const rows = await preparedRows(looked, set)
    evals.push(rows.dir)
    rows.close()
  }
  return overlapLints({ train: train.dir, evals, benchmarks: looked.config.data.benchmarks })
}

/** Counts of rows by their tokens, in bins of one width; `to` is the largest of a bin. */
function lengthBins(lengths: Int32Array): { readonly to: number; readonly rows: number }[] {
  const most = lengths.reduce((max, length) => Math.max(max, length), 1)
  const width = Math.max(1, Math.ceil(most / LENGTH_BINS))
  const bins = Array.from({ length: Math.ceil(most / width) }, (_, i) => ({
    to: (i + 1) * width,
    rows: 0,
  }))
  for (const length of lengths) bins[Math.ceil(length / width) - 1]!.rows++
  return bins
}

/** Rows that are equal token for token, the largest groups first. */
async function duplicateRows(rows: Prepared) {
  const hashes = await rowHashesIn(rows.dir)
  const groups = new Map<bigint, number[]>()
  for (const [row, hash] of hashes.entries()) {
    const group = groups.get(hash)
    if (group) group.push(row)
    else groups.set(hash, [row])
  }
  return [...groups.values()]
    .filter((group) => group.length > 1)
    .sort((a, b) => b.length - a.length)
    .slice(0, MOST_GROUPS)
    .map((group) => ({
      rows: group.length,
      indices: group.slice(0, MOST_PLACES),
      places: group.slice(0, MOST_PLACES).map((row) => rows.place(row)),
    }))
}
