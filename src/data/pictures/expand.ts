/** A picture's place in a row's tokens. */
import { InputError } from "../../errors.ts"
import type { Example } from "../rows/index.ts"
import { TOKEN_CLASS } from "../token-class.ts"
import type { Picture, PictureReader, PlacedPicture } from "./picture.ts"

/**
 * The pictures of a row, in the order of its messages.
 *
 * @param where `file:line`
 */
export function readPictures(example: Example, reader: PictureReader, where: string): Picture[] {
  const messages =
    example.kind === "chat"
      ? example.messages
      : example.kind !== "text" && typeof example.prompt !== "string"
        ? example.prompt
        : []
  const file = where.slice(0, where.lastIndexOf(":"))
  return messages.flatMap(({ pictures = [] }) => pictures.map((one) => reader.read(one, file)))
}

interface RowTokens {
  readonly tokenIds: readonly number[]
  readonly lossMask: readonly number[]
  readonly tokenClass: readonly number[]
  readonly pictures?: readonly PlacedPicture[]
}

/**
 * Each placeholder of the template as the tokens of its picture. They are never trained, whatever
 * is supervised: the model does not say them.
 *
 * @throws InputError where the template wrote another number of placeholders
 */
export function expanded<Tokens extends RowTokens>(
  tokens: Tokens,
  pictures: readonly Picture[],
  reader: PictureReader,
): Tokens {
  const { placeholder } = reader
  const places = tokens.tokenIds.filter((id) => id === placeholder).length
  if (places !== pictures.length) {
    throw new InputError(
      `expected a placeholder in the text for each of ${pictures.length} pictures, got ${places}; ${
        places > pictures.length
          ? "a message's own text may hold the placeholder"
          : "the chat template may not write pictures"
      }`,
    )
  }
  if (places === 0) return tokens
  const [tokenIds, lossMask, tokenClass]: number[][] = [[], [], []]
  const placed: PlacedPicture[] = []
  for (const [t, id] of tokens.tokenIds.entries()) {
    const isPicture = id === placeholder
    const ids = isPicture ? reader.tokenIds(pictures[placed.length]!) : [id]
    if (isPicture)
      placed.push({ ...pictures[placed.length]!, at: tokenIds!.length, tokens: ids.length })
    for (const own of ids) {
      tokenIds!.push(own)
      lossMask!.push(isPicture ? 0 : tokens.lossMask[t]!)
      tokenClass!.push(isPicture ? TOKEN_CLASS.template : tokens.tokenClass[t]!)
    }
  }
  return {
    ...tokens,
    tokenIds: tokenIds!,
    lossMask: lossMask!,
    tokenClass: tokenClass!,
    pictures: placed,
  }
}
