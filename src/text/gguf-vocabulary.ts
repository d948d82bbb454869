import type { GgufValue } from "../formats/gguf-metadata.ts"

/** What one kind of vocabulary adds: its model's name, scores or merges. */
export interface GgufVocabulary {
  readonly metadata: readonly (readonly [key: string, value: GgufValue])[]
  readonly notes: readonly string[]
  /** Whether `<0x0A>` stands for a byte. */
  readonly bytePieces: boolean
  /** Which of two joins comes first, where the vocabulary is told by scores. */
  readonly scoreOf?: (piece: string) => number
}

/** tokenizer.json's BPE model, its parts checked. */
export interface BpeModel {
  /** tokenizer.json, for errors. */
  readonly path: string
  readonly pieceIds: ReadonlyMap<string, number>
  readonly merges: readonly (readonly [string, string])[]
  readonly ignoreMerges: boolean
  readonly unknownPiece: string | null
}
