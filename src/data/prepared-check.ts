import { existsSync } from "node:fs"
import { basename, join, resolve } from "node:path"
import { InputError } from "../errors.ts"
import { fileHash } from "../formats/index.ts"
import { changedPicture, PICTURES_FILE } from "./pictures/picture-table.ts"
import { type Manifest, readManifest } from "./prepared.ts"
import { HASHES_FILE } from "./row-hashes.ts"

/** Folders that this process has looked through. */
const known = new Set<string>()

export type PreparedState =
  | { readonly state: "whole"; readonly manifest: Manifest }
  | { readonly state: "absent" }
  /** In words. */
  | { readonly state: "damaged"; readonly damage: string }

/**
 * Whether a prepared folder holds what was written into it: its manifest, under the key that names
 * the folder, and every file with the hash that the manifest has of it. Hashing is done once a
 * process.
 */
export async function preparedState(dir: string): Promise<PreparedState> {
  if (!existsSync(join(dir, "manifest.json"))) return { state: "absent" }
  const damaged = (damage: string): PreparedState => ({ state: "damaged", damage })
  let manifest: Manifest
  try {
    manifest = await readManifest(dir)
  } catch (error) {
    if (error instanceof InputError) return damaged(error.message)
    throw error
  }
  if (manifest.key !== basename(dir)) return damaged(`${dir}/manifest.json: is another folder's`)
  if (manifest.shards.reduce((sum, { rows }) => sum + rows, 0) !== manifest.rows)
    return damaged(`${dir}/manifest.json: its shards do not add up to its rows`)
  const { pictures_sha256: pictures } = manifest
  const files = [
    ...manifest.shards,
    { file: HASHES_FILE, sha256: manifest.hashes_sha256 },
    ...(pictures === undefined ? [] : [{ file: PICTURES_FILE, sha256: pictures }]),
  ] as const
  const missing = files.find(({ file }) => !existsSync(join(dir, file)))
  if (missing !== undefined) return damaged(`${join(dir, missing.file)}: is missing`)
  for (const { file, sha256 } of known.has(resolve(dir)) ? [] : files) {
    if (sha256 === undefined || (await fileHash(join(dir, file))) === sha256) continue
    return damaged(`${join(dir, file)}: its content is not what was written`)
  }
  known.add(resolve(dir))
  const changed = await changedPicture(dir, manifest)
  return changed === undefined ? { state: "whole", manifest } : damaged(changed)
}
