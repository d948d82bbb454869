import { InputError } from "../errors.ts"
import { modelFolders } from "../generate/index.ts"
import { type ReadAdapter, readAdapter } from "../models/files/index.ts"
import { combinedAdapter, type DecoderShape } from "../models/index.ts"
import type { AddedAdapter, ExportSource } from "./source.ts"

/** `FOLDER` or `FOLDER:0.5`. */
export function addedAdapter(text: string): AddedAdapter {
  const [, path, weight] = /^(.+?)(?::(-?\d+(?:\.\d+)?(?:e-?\d+)?))?$/.exec(text) ?? []
  if (path === undefined)
    throw new InputError(`--add: expected FOLDER or FOLDER:0.5, got "${text}"`)
  return { path, weight: weight === undefined ? 1 : Number(weight) }
}

/**
 * The adapter that is exported: the source's own, or with others and weights as the one that they
 * come to.
 *
 * @throws InputError for another that is no adapter, or of another base
 */
export async function sourceAdapter(
  { folder, weight = 1, added = [] }: ExportSource,
  base: DecoderShape,
): Promise<ReadAdapter> {
  const own = await readAdapter(folder, base)
  if (weight === 1 && added.length === 0) return own
  const others = []
  for (const { path, weight } of added) {
    const found = await modelFolders(path, { withBaseWeights: false })
    if (found.base === null) throw new InputError(`--add: ${path} is a whole model, not an adapter`)
    const read = await readAdapter(found.folder, base)
    others.push({ ...read, weight, where: path })
  }
  const combined = combinedAdapter([{ ...own, weight, where: folder }, ...others], base)
  return { ...own, ...combined }
}
