import { axolotl } from "./axolotl.ts"
import type { Peer } from "./draft.ts"
import { llamaFactory } from "./llama-factory.ts"
import { mlx } from "./mlx.ts"
import { swift } from "./swift.ts"
import { trl, unsloth } from "./trl.ts"
import { verl } from "./verl.ts"

/**
 * What each peer calls its settings (docs/method.md, 2); in the order in which they are asked, the
 * more particular first.
 */
export const PEERS: readonly Peer[] = [verl, axolotl, mlx, swift, llamaFactory, unsloth, trl]
