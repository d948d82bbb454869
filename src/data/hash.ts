import { createHash } from "node:crypto"

/** 64 bits of SHA-256: two rows of a million share one by chance with probability 3e-8. */
export function hashOf(...parts: readonly (string | Int32Array)[]): bigint {
  const hash = createHash("sha256")
  for (const part of parts) {
    hash.update(
      typeof part === "string"
        ? part
        : new Uint8Array(part.buffer, part.byteOffset, part.byteLength),
    )
  }
  return hash.digest().readBigInt64LE(0)
}

/** Of a row's tokens and pictures, its sides in order. */
export const rowHash = (sides: readonly Side[]): bigint =>
  hashOf(
    ...sides.flatMap(({ tokenIds, pictures = [] }) => [
      Int32Array.from(tokenIds),
      ...pictures.map(({ sha256 }) => sha256),
    ]),
  )

interface Side {
  readonly tokenIds: readonly number[]
  readonly pictures?: readonly { readonly sha256: string }[]
}
