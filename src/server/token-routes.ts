/** Rows of a run as tokens, and what its model makes of each at its checkpoints. */
import { type Context, Hono } from "hono"
import { z } from "zod"
import type { InspectedToken } from "../evaluate/token-inspection.ts"
import { bodyAs } from "./body.ts"
import type { Lanes } from "./lanes.ts"
import {
  comparesWithBase,
  Microscope,
  type MicroscopeOptions,
  type Moment,
  weightsOfRow,
} from "./microscope.ts"
import { refusal } from "./refusal.ts"
import type { RunIndexes } from "./run-indexes.ts"
import { namedRun } from "./run-routes.ts"
import {
  type LookedRow,
  type LookedRun,
  lookedRows,
  lookedRun,
  preparedRows,
  rowSets,
  toldRow,
} from "./run-rows.ts"

export interface TokenRoutesOptions extends MicroscopeOptions {
  readonly dir: string
  readonly lanes: Lanes
  readonly indexes: RunIndexes
}

const moment = z.union([z.literal(["base", "result"]), z.int().min(0)])
const rowAsked = z.strictObject({ set: z.string(), index: z.int().min(0) })
const tokensAsked = rowAsked.extend({ side: z.int().min(0).max(1).default(0), at: moment })
const abandonedAsked = z.strictObject({ set: z.string(), rows: z.int().min(1).max(64), at: moment })

/** A row's tokens as its page shows them; what is predicted begins at the second token. */
export interface ToldTokens {
  readonly p: readonly number[]
  readonly rank: readonly number[]
  readonly entropy: readonly number[]
  /** Undefined where weights depend on what a single row does not say. */
  readonly weight?: readonly (number | null)[]
  readonly alternatives: readonly (readonly { readonly text: string; readonly p: number }[])[]
}

export interface AbandonedRow {
  readonly index: number
  readonly place: string
  readonly supervised: number
  readonly abandoned: number
  /** Of the row's NLL that of its abandoned tokens. */
  readonly share: number
}

export interface AbandonedToken {
  readonly text: string
  readonly count: number
  readonly abandoned: number
  readonly mean_p: number
  readonly mean_weight: number
}

/** A supervised token counts as abandoned below this weight: it teaches next to nothing. */
const ABANDONED_WEIGHT = 0.05
/** Kinds of tokens that are told. */
const MOST_KINDS = 200

export function tokenRoutes({ dir, lanes, indexes, ...options }: TokenRoutesOptions): {
  readonly routes: Hono
  close(): Promise<void>
} {
  const microscope = new Microscope(options)

  /** In a lane of its own: what is computed is bounded whoever asks. */
  async function computed(c: Context, body: () => Promise<object>): Promise<Response> {
    const giveBack = await lanes.take(c.req.raw.signal)
    try {
      return c.json(await body())
    } finally {
      giveBack()
    }
  }

  async function weighed(looked: LookedRun, row: LookedRow, at: Moment) {
    const tokens = await microscope.inspect(looked, row, at)
    const { objective } = looked
    const base = comparesWithBase(objective)
      ? await microscope.inspect(looked, row, "base")
      : undefined
    const { start, step } = await indexes.summary(looked.run)
    const steps = start?.steps ?? 0
    const done = at === "base" ? 0 : at === "result" ? (step?.step ?? steps) : at
    return { tokens, weight: weightsOfRow(objective, row, tokens, { step: done, steps, base }) }
  }

  const routes = new Hono()
    .post("/api/runs/:name/row-sets", async (c) => {
      const looked = await lookedRun(namedRun(c, dir))
      return computed(c, async () => {
        const sets = []
        for (const name of rowSets(looked.config)) {
          const prepared = await preparedRows(looked, name)
          const files = prepared.manifest.sources.map(({ path }) => path)
          sets.push({ name, rows: prepared.rows, files })
          prepared.close()
        }
        return { sets, objective: looked.objective.name }
      })
    })
    .post("/api/runs/:name/row", async (c) => {
      const asked = await bodyAs(rowAsked, c)
      const looked = await lookedRun(namedRun(c, dir))
      return computed(c, async () => {
        const rows = await lookedRows(looked, asked)
        return { sides: rows.map((row) => toldRow(looked, row)) }
      })
    })
    .post("/api/runs/:name/tokens", async (c) => {
      const asked = await bodyAs(tokensAsked, c)
      const looked = await lookedRun(namedRun(c, dir))
      return computed(c, async () => {
        const row = (await lookedRows(looked, asked))[asked.side]
        if (!row) throw refusal(404, "side: this row has one side")
        const { tokens, weight } = await weighed(looked, row, asked.at)
        return toldTokens(looked, tokens, weight)
      })
    })
    .post("/api/runs/:name/abandoned", async (c) => {
      const { set, rows: wanted, at } = await bodyAs(abandonedAsked, c)
      const looked = await lookedRun(namedRun(c, dir))
      return computed(c, async () => {
        const prepared = await preparedRows(looked, set)
        const count = Math.min(prepared.rows, wanted)
        prepared.close()
        const tally = new AbandonedTally(looked)
        for (let index = 0; index < count; index++) {
          c.req.raw.signal.throwIfAborted()
          const [row] = await lookedRows(looked, { set, index })
          const { tokens, weight } = await weighed(looked, row!, at)
          if (!weight)
            throw refusal(409, `weights of ${looked.objective.name} depend on more than a row`)
          tally.add(index, row!, tokens, weight)
        }
        return tally.told()
      })
    })
  return { routes, close: () => microscope.close() }
}

function toldTokens(
  { tokenizer }: LookedRun,
  tokens: readonly InspectedToken[],
  weight: readonly (number | null)[] | undefined,
): ToldTokens {
  return {
    p: tokens.map(({ logp }) => Math.exp(logp)),
    rank: tokens.map(({ rank }) => rank),
    entropy: tokens.map(({ entropy }) => entropy),
    ...(weight ? { weight } : {}),
    alternatives: tokens.map(({ alternatives }) =>
      alternatives.map(({ tokenId, logp }) => ({
        text: tokenizer.tokenText(tokenId),
        p: Math.exp(logp),
      })),
    ),
  }
}

/** Which tokens an objective gives up, by row and by token. */
class AbandonedTally {
  readonly #looked: LookedRun
  readonly #rows: AbandonedRow[] = []
  readonly #kinds = new Map<
    number,
    { count: number; abandoned: number; p: number; weight: number }
  >()

  constructor(looked: LookedRun) {
    this.#looked = looked
  }

  add(
    index: number,
    { place, tokenIds }: LookedRow,
    tokens: readonly InspectedToken[],
    weights: readonly (number | null)[],
  ): void {
    let [supervised, abandoned, nll, lost] = [0, 0, 0, 0]
    for (const [i, weight] of weights.entries()) {
      if (weight === null) continue
      const { logp } = tokens[i]!
      const isAbandoned = weight < ABANDONED_WEIGHT
      const id = tokenIds[i + 1]!
      const kind = this.#kinds.get(id) ?? { count: 0, abandoned: 0, p: 0, weight: 0 }
      this.#kinds.set(id, kind)
      kind.count++
      kind.abandoned += Number(isAbandoned)
      kind.p += Math.exp(logp)
      kind.weight += weight
      supervised++
      nll -= logp
      if (!isAbandoned) continue
      abandoned++
      lost -= logp
    }
    this.#rows.push({ index, place, supervised, abandoned, share: nll === 0 ? 0 : lost / nll })
  }

  told(): { readonly rows: readonly AbandonedRow[]; readonly tokens: readonly AbandonedToken[] } {
    const tokens = [...this.#kinds].map(([id, { count, abandoned, p, weight }]) => ({
      text: this.#looked.tokenizer.tokenText(id),
      count,
      abandoned,
      mean_p: p / count,
      mean_weight: weight / count,
    }))
    const most = (a: { abandoned: number }, b: { abandoned: number }) => b.abandoned - a.abandoned
    return { rows: [...this.#rows].sort(most), tokens: tokens.sort(most).slice(0, MOST_KINDS) }
  }
}
