/** Tables for a terminal. */

/** What a terminal and a page of 1,280 pixels show without wrapping. */
const WIDTH = 100
const GAP = 2

interface TableOptions {
  /** Of every column but the first. */
  readonly align?: "left" | "right"
  readonly width?: number
}

/**
 * Rows of cells in columns, the first row their titles. A table that would be wider than the
 * terminal becomes several, each with the first column.
 */
export function textTable(
  rows: readonly (readonly string[])[],
  { align = "left", width = WIDTH }: TableOptions = {},
): string {
  const widths = rows[0]!.map((_, k) => Math.max(...rows.map((row) => row[k]!.length)))
  const blocks: number[][] = [[]]
  let used = widths[0]!
  for (let k = 1; k < widths.length; k++) {
    const more = GAP + widths[k]!
    if (used + more > width && blocks.at(-1)!.length > 0) {
      blocks.push([])
      used = widths[0]!
    }
    blocks.at(-1)!.push(k)
    used += more
  }
  const pad = (cell: string, k: number) =>
    align === "left" || k === 0 ? cell.padEnd(widths[k]!) : cell.padStart(widths[k]!)
  const block = (columns: readonly number[]) =>
    rows
      .map((row) =>
        [0, ...columns]
          .map((k) => pad(row[k]!, k))
          .join(" ".repeat(GAP))
          .trimEnd(),
      )
      .join("\n")
  return blocks.map(block).join("\n\n")
}
