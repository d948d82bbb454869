import { createHash } from "node:crypto"
import { join } from "node:path"
import { openSafetensors } from "../formats/safetensors-files.ts"
import { type Manifest, type Prepared, sidesOf } from "./prepared.ts"

/** Tensors of a shard in which the rows are what they are; where a row came from is not of it. */
const STREAMS = ["token_ids", "loss_mask", "token_class"] as const

/**
 * SHA-256 of what prepared rows are: their ids, masks and classes, their lengths and weights, and
 * how many of them each source gives how often, from which their order is drawn. Independent of
 * the code that prepared them, of the paths they were read from and of how they are cut in shards.
 */
export async function rowsDigest({
  dir,
  manifest,
}: {
  readonly dir: string
  readonly manifest: Manifest
}): Promise<string> {
  const { purpose, shards, sources } = manifest
  const digests = sidesOf(purpose).map(() => sideHashes())
  for (const { file } of shards) {
    const reader = await openSafetensors(join(dir, file))
    try {
      for (const [i, prefix] of sidesOf(purpose).entries()) {
        for (const name of STREAMS) digests[i]![name].update(await reader.read(`${prefix}${name}`))
        const offsets = new BigInt64Array((await reader.read(`${prefix}row_offsets`)).buffer)
        const lengths = new Uint32Array(offsets.length - 1)
        for (let r = 0; r < lengths.length; r++) {
          lengths[r] = Number(offsets[r + 1]! - offsets[r]!)
        }
        digests[i]!.lengths.update(lengths)
        const weights = reader.tensors.has(`${prefix}row_weight`)
          ? await reader.read(`${prefix}row_weight`)
          : new Float32Array(lengths.length).fill(1)
        digests[i]!.weights.update(weights)
      }
    } finally {
      await reader.close()
    }
  }
  const streams = digests.map((side) => Object.values(side).map((hash) => hash.digest("hex")))
  const counts = sources.map(({ rows, weight }) => [rows, weight])
  return createHash("sha256")
    .update(JSON.stringify([purpose, streams, counts]))
    .digest("hex")
}

const sideHashes = () => ({
  token_ids: createHash("sha256"),
  loss_mask: createHash("sha256"),
  token_class: createHash("sha256"),
  lengths: createHash("sha256"),
  weights: createHash("sha256"),
})

/** Where two prepared data sets differ first, in words; undefined when no row of supervised data does. */
export function firstDifference(there: Prepared, here: Prepared): string | undefined {
  if (there.manifest.purpose !== here.manifest.purpose) return "rows of another kind"
  if (here.manifest.purpose === "supervised") {
    for (let i = 0; i < Math.min(there.rows, here.rows); i++) {
      const [a, b] = [there.row(i), here.row(i)]
      const what = !isSame(a.tokenIds, b.tokenIds)
        ? `${a.tokenIds.length} tokens there, ${b.tokenIds.length} here`
        : !isSame(a.lossMask, b.lossMask)
          ? `${count(a.lossMask)} trained tokens there, ${count(b.lossMask)} here`
          : !isSame(a.tokenClass, b.tokenClass)
            ? "other end-of-turn or template tokens"
            : undefined
      if (what !== undefined) return `${here.place(i)}: ${what}`
    }
  }
  if (there.rows !== here.rows) return `${there.rows} rows there, ${here.rows} here`
  return undefined
}

const count = (mask: Uint8Array) => mask.reduce((sum, one) => sum + one, 0)

function isSame(a: Int32Array | Uint8Array, b: Int32Array | Uint8Array): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i])
}
