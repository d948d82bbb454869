/**
 * The longest answer of a server that is read: far above any completion with its log-probabilities.
 */
export const MAX_BODY_BYTES = 64e6

/** An answer's text; undefined for one that goes on for longer. */
export async function boundedText(response: Response): Promise<string | undefined> {
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const part of response.body ?? []) {
    bytes += part.length
    if (bytes > MAX_BODY_BYTES) return undefined // leaving the loop lets go of the connection
    parts.push(part)
  }
  return Buffer.concat(parts).toString("utf8")
}
