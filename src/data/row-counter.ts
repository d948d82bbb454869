import { assert } from "../errors.ts"
import type { BatchResult } from "./batch.ts"
import { ASKED_KINDS, type AskedKind } from "./layout.ts"
import { MAX_EXAMPLES, ROW_NOTES, type RowNote, type Tally } from "./lints.ts"
import { PAIR_FAULTS } from "./pair-faults.ts"
import type { PreparedSource } from "./prepared.ts"
import { type RowHashes, rowHashes } from "./row-hashes.ts"

type TallyName = "dropped" | "bad" | RowNote
type FileCounts = Omit<PreparedSource, "path" | "weight">

/** A file, and the entry of the config that it belongs to. */
interface CountedFile {
  readonly path: string
  readonly source: string
}

/** Counts by name, with the places of the first of each. */
export function tallies() {
  const all = new Map<string, { count: number; examples: string[] }>()
  return {
    all: all as ReadonlyMap<string, Tally>,
    add(name: string, path: string, lines: readonly number[]): void {
      if (lines.length === 0) return
      const tally = all.get(name) ?? { count: 0, examples: [] }
      tally.count += lines.length
      for (const line of lines.slice(0, MAX_EXAMPLES - tally.examples.length))
        tally.examples.push(`${path}:${line}`)
      all.set(name, tally)
    },
  }
}

/** Keys that nothing was made of, source by source. */
export function unusedKeys() {
  const bySource = new Map<string, ReturnType<typeof tallies>>()
  return {
    add(source: string, path: string, key: string, lines: readonly number[]): void {
      const known = bySource.get(source) ?? tallies()
      bySource.set(source, known)
      known.add(key, path, lines)
    },
    all: () => [...bySource].map(([source, { all }]) => ({ source, keys: all })),
  }
}

const sumOf = (counts: readonly number[]) => counts.reduce((sum, count) => sum + count, 0)

/** Adds batches up: counts, first examples, hashes and places of rows. */
export function counter(files: readonly CountedFile[]) {
  const paths = files.map(({ path }) => path)
  const noted = tallies()
  const untrained = tallies()
  const unused = unusedKeys()
  const layouts = { template: 0, question: 0, plain: 0, text: 0 }
  const perFile = paths.map(() => ({ rows: 0, dropped: 0, bad: 0, truncated: 0, untrained: 0 }))
  const lines: Int32Array[] = []
  const fileOfBatch: { readonly file: number; readonly firstRow: number }[] = []
  const hashes: RowHashes = rowHashes()
  let rows = 0
  let tokens = 0
  let supervised = 0
  const note = (name: TallyName, path: string, lines: readonly number[]) =>
    noted.add(name, path, lines)
  return {
    rows: () => rows,
    tokens: () => tokens,
    supervised: () => supervised,
    hashes: () => hashes,
    file: (i: number): FileCounts => perFile[i]!,
    isEmpty: (path: string): boolean =>
      paths.every((other, i) => {
        const { rows: kept, dropped, bad, untrained: left = 0 } = perFile[i]!
        return other !== path || kept + dropped + bad + left === 0
      }),
    tally: (name: TallyName): Tally => noted.all.get(name) ?? { count: 0, examples: [] },
    layouts: (): Readonly<Record<AskedKind, number>> => layouts,
    untrained: () => untrained.all,
    unusedKeys: () => unused.all(),
    /** `file:line` of a row. */
    place: (row: number): string => {
      const batch = fileOfBatch.findLastIndex(({ firstRow }) => firstRow <= row)
      assert(batch >= 0, `row ${row} of ${rows}`)
      const { file, firstRow } = fileOfBatch[batch]!
      return `${paths[file]}:${lines[batch]![row - firstRow]}`
    },
    add: (file: number, result: BatchResult): void => {
      const { sides, dropped, bad, notes } = result
      const path = paths[file]!
      const kept = sides[0]!.lengths.length
      fileOfBatch.push({ file, firstRow: rows })
      lines.push(sides[0]!.lines)
      hashes.add(result.rowHashes, result.promptHashes)
      rows += kept
      supervised += result.supervised
      for (const { tokenIds } of sides) tokens += tokenIds.length
      const counts = perFile[file]!
      counts.rows += kept
      const faults = PAIR_FAULTS.map((fault) => notes[fault]?.length ?? 0)
      counts.dropped += dropped.length + result.leftOut.length + sumOf(faults)
      counts.bad += bad.length
      counts.truncated += result.truncated
      note("dropped", path, dropped)
      note(
        "bad",
        path,
        bad.map(([line]) => line),
      )
      for (const kind of ASKED_KINDS) layouts[kind] += result.layouts[kind]
      for (const name of ROW_NOTES) note(name, path, notes[name] ?? [])
      for (const [said, lines] of Object.entries(result.untrained)) {
        untrained.add(said, path, lines)
        counts.untrained += lines.length
      }
      for (const [key, lines] of Object.entries(result.unused))
        unused.add(files[file]!.source, path, key, lines)
    },
  }
}
