import { existsSync } from "node:fs"
import { join } from "node:path"
import { readJsonObject } from "../formats/json.ts"
import type { Tokenizer } from "../text/index.ts"

/** Ids that end generation: the tokenizer's EOS, and `eos_token_id` of generation_config.json and config.json. */
export async function stopTokenIds(
  folder: string,
  { eosTokenId }: Tokenizer,
): Promise<ReadonlySet<number>> {
  const ids = new Set<number>(eosTokenId === null ? [] : [eosTokenId])
  for (const file of ["generation_config.json", "config.json"]) {
    const path = join(folder, file)
    if (!existsSync(path)) continue
    const { eos_token_id: named } = await readJsonObject(path)
    for (const id of Array.isArray(named) ? named : [named]) if (typeof id === "number") ids.add(id)
  }
  return ids
}
