/** How rows are laid out that a model is measured on. */
import type { Columns } from "../data/index.ts"
import { rawValues } from "../data/read-batch.ts"
import { resolveSources, sourceBatches } from "../data/sources.ts"
import { isObject } from "../formats/json.ts"
import { askingOf } from "../generate/asking.ts"

export interface RowLayout {
  /** As `data.template`. */
  readonly template: string | boolean
  readonly columns: Columns
}

interface LayoutOptions {
  readonly data: readonly string[]
  readonly base?: string | undefined
  /** In place of the model's own. */
  readonly template?: string | undefined
  readonly signal?: AbortSignal | undefined
}

/** As the rows that `model` was trained on; its columns where the files have them. */
export async function rowLayout(
  model: string,
  { data, base, template, signal }: LayoutOptions,
): Promise<RowLayout> {
  const { plainTexts, columns } = await askingOf(model, {
    base,
    ...(signal ? { signal } : {}),
  })
  return {
    template: template ?? (plainTexts === "all" ? true : plainTexts),
    columns: (await haveColumns(data, columns)) ? columns : {},
  }
}

/** Whether the first row of the files has what the columns name. */
async function haveColumns(files: readonly string[], columns: Columns): Promise<boolean> {
  const names = Object.values(columns).filter((name) => name !== null)
  if (names.length === 0) return true
  const sources = await resolveSources(files.map((path) => ({ path, weight: 1 })))
  for await (const { batch } of sourceBatches(sources)) {
    for (const { value } of rawValues(batch))
      return isObject(value) && names.every((name) => value[name] !== undefined)
  }
  return true
}
