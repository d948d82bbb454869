import type { DataFormat } from "../config/index.ts"
import { changeable } from "./noise.ts"
import { parsedRows, trainedRows } from "./read-batch.ts"
import type { Columns, Purpose } from "./rows/index.ts"
import { type Source, sourceBatches } from "./sources.ts"

interface ExactNoiseOptions {
  readonly purpose: Purpose
  readonly format: DataFormat
  readonly columns: Columns
  readonly implicitPrompt: boolean
  readonly pictures?: object | null
  /** Of each file of the sources, by its index: lines of rows that are not trained. */
  readonly leftOut?: readonly ReadonlySet<number>[] | undefined
  readonly signal?: AbortSignal | undefined
}

/**
 * Of each file of the sources, by its index, the lines that exact noise makes wrong; undefined for
 * files whose rows are drawn one by one. A source's rows that can be made wrong are ranked by their
 * draws, so that a larger share holds the rows of a smaller one.
 */
export async function exactlyNoised(
  sources: readonly Source[],
  options: ExactNoiseOptions,
): Promise<readonly (ReadonlySet<number> | undefined)[]> {
  const lines: (Set<number> | undefined)[] = []
  for (const source of sources) {
    const before = lines.length
    for (const _ of source.files) lines.push(source.noise?.exact ? new Set() : undefined)
    if (!source.noise?.exact) continue
    const rows: { readonly file: number; readonly line: number; readonly draw: number }[] = []
    for await (const { file, batch } of sourceBatches([source])) {
      options.signal?.throwIfAborted()
      const read = trainedRows(parsedRows(batch, options))
      for (const { line, draw } of changeable(read, source.noise, batch.path)) {
        const isLeftOut = options.leftOut?.[before + file]?.has(line)
        if (!isLeftOut) rows.push({ file: before + file, line, draw })
      }
    }
    rows.sort((a, b) => a.draw - b.draw)
    const wrong = rows.slice(0, Math.round(source.noise.share * rows.length))
    for (const { file, line } of wrong) lines[file]!.add(line)
  }
  return lines
}
