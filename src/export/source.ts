import type { ModelFolders } from "../generate/index.ts"
import type { CheckpointDtype } from "../models/index.ts"
import type { GgufTypeName, Rounding } from "./names.ts"
import type { Verified } from "./verify.ts"

/** What is exported: where its parts lie, and its name. */
export interface ExportSource extends ModelFolders {
  readonly name: string
  /** Of an adapter: what its update is multiplied with; 1 if left out. */
  readonly weight?: number | undefined
  /** Adapters over the same base that are added to it. */
  readonly added?: readonly AddedAdapter[] | undefined
}

export interface AddedAdapter {
  readonly path: string
  readonly weight: number
}

/** What every writer is given beside its own options. */
export interface Work {
  /** hf, merged, gguf and ollama in 16 bits: how a value goes to one of its neighbours there. */
  readonly rounding?: Rounding | undefined
  readonly signal?: AbortSignal | undefined
  /** What is being done, for people. */
  readonly show: (message: string) => void
}

/** What a writer has done. */
export interface Written {
  /** What the weights are stored in. */
  readonly stored: CheckpointDtype | GgufTypeName | "int8" | "int4"
  readonly verified: Verified
  /** What the user should know, in words. */
  readonly notes: readonly string[]
}
