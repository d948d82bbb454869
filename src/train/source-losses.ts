/** Losses of the supervised tokens by the file that their rows come from. */
import type { Manifest } from "../data/prepared.ts"
import type { TokenOutputs } from "../models/index.ts"
import { supervisedTokens } from "../models/index.ts"
import type { SourceFields } from "../run/events.ts"
import type { MicroBatch } from "./micro-batches.ts"

/** More files than this are not told apart: nobody reads so many numbers a step. */
const MOST_SOURCES = 24

/** By path: what a file is called where losses are told by source. */
export type SourceNames = ReadonlyMap<string, string>

/**
 * The files' own names, longer ones where two share it; undefined where there is one file, or so
 * many that their losses are not told apart.
 */
export function sourceNames({ sources }: Pick<Manifest, "sources">): SourceNames | undefined {
  const paths = [...new Set(sources.map(({ path }) => path))]
  if (paths.length < 2 || paths.length > MOST_SOURCES) return undefined
  const parts = paths.map((path) => path.split(/[\\/]/))
  const tail = (path: readonly string[], length: number) => path.slice(-length).join("/")
  const names = parts.map((path, i) => {
    const isShared = (length: number) =>
      parts.some((other, k) => k !== i && tail(other, length) === tail(path, length))
    let length = 1
    while (length < path.length && isShared(length)) length++
    return tail(path, length)
  })
  return new Map(paths.map((path, i) => [path, names[i]!]))
}

interface Sums {
  tokens: number
  nll: number
  p: number
}

/** Gathers the tokens of micro-batches. */
export class SourceLosses {
  readonly #names: SourceNames
  readonly #sums = new Map<string, Sums>()

  constructor(names: SourceNames) {
    this.#names = names
  }

  add({ rows }: Pick<MicroBatch, "rows">, { logp }: Pick<TokenOutputs, "logp">): void {
    let token = 0
    for (const row of rows) {
      const count = supervisedTokens(row).length
      const name = this.#names.get(row.source) ?? row.source.split(/[\\/]/).at(-1)!
      const sums = this.#sums.get(name) ?? { tokens: 0, nll: 0, p: 0 }
      for (let i = 0; i < count; i++) {
        const value = logp[token++]!
        sums.nll -= value
        sums.p += Math.exp(value)
      }
      sums.tokens += count
      if (count > 0) this.#sums.set(name, sums)
    }
  }

  isSeveral(): boolean {
    return this.#sums.size > 1
  }

  /** Of the sources that had a token, in the order of their names. */
  fields(): SourceFields {
    const all = [...this.#sums].sort(([a], [b]) => (a < b ? -1 : 1))
    const of = (value: (sums: Sums) => number) =>
      Object.fromEntries(all.map(([name, sums]) => [name, value(sums)]))
    return {
      source_nll: of(({ nll, tokens }) => nll / tokens),
      source_mean_p: of(({ p, tokens }) => p / tokens),
      source_tokens: of(({ tokens }) => tokens),
    }
  }
}
