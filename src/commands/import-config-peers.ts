import { axolotl } from "./import-config-axolotl.ts"
import type { Peer } from "./import-config-draft.ts"
import { llamaFactory } from "./import-config-llama-factory.ts"
import { swift } from "./import-config-swift.ts"
import { trl } from "./import-config-trl.ts"
import { verl } from "./import-config-verl.ts"

/** What each peer calls its settings (METHOD.md, section 2); in the order in which they are asked, the more particular first. */
export const PEERS: readonly Peer[] = [verl, axolotl, llamaFactory, swift, trl]
