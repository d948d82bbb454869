import { homedir } from "node:os"
import { join } from "node:path"

/** Where prepared data is kept: DFTUNE_CACHE, or ~/.cache/dftune. */
export function cacheFolder(): string {
  return process.env.DFTUNE_CACHE || join(homedir(), ".cache", "dftune")
}
