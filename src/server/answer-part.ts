import type { CalledTool } from "../text/called-tools.ts"

export interface TokenScore {
  readonly tokenId: number
  /** ln p at temperature 1; null for a first token, which nothing predicts. */
  readonly logprob: number | null
  /** The likeliest tokens in its place, where they are asked for. */
  readonly top?: readonly { readonly tokenId: number; readonly logprob: number }[]
}

/** Some more of one answer. */
export interface Part {
  readonly choice: number
  readonly text: string
  readonly tokens: readonly TokenScore[]
  /** With the last part. */
  readonly finish?: string
  /** Tools that the answer calls, with the last part. */
  readonly calls?: readonly CalledTool[]
}
