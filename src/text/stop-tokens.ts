import { type Folder, objectIn } from "../formats/folder.ts"
import type { Tokenizer } from "./tokenizer.ts"

/**
 * Ids that end generation: the tokenizer's EOS, and `eos_token_id` of generation_config.json and
 * config.json.
 */
export async function stopTokensIn(
  folder: Folder,
  { eosTokenId }: Pick<Tokenizer, "eosTokenId">,
): Promise<ReadonlySet<number>> {
  const ids = new Set<number>(eosTokenId === null ? [] : [eosTokenId])
  for (const file of ["generation_config.json", "config.json"]) {
    const named = (await objectIn(folder, file))?.eos_token_id
    for (const id of Array.isArray(named) ? named : [named]) if (typeof id === "number") ids.add(id)
  }
  return ids
}
