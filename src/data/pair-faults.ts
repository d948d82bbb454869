import { InputError } from "../errors.ts"
import { TOKEN_CLASS } from "./token-class.ts"

/** One side of a pair, tokenised. */
interface Side {
  /** [T] */
  readonly tokenIds: readonly number[]
  /** [T] */
  readonly lossMask: readonly number[]
}

/** Why a pair is left out. */
export const PAIR_FAULTS = ["long-pair", "equal-sides"] as const
export type PairFault = (typeof PAIR_FAULTS)[number]

/** Why a pair cannot be trained; undefined for a good one, and for rows of one sequence. */
export function pairFault(
  [chosen, rejected]: readonly (Side & { readonly truncated: boolean })[],
  onLongPair: "drop" | "truncate",
): PairFault | undefined {
  if (!chosen || !rejected) return undefined
  if (onLongPair === "drop" && (chosen.truncated || rejected.truncated)) return "long-pair"
  const { tokenIds } = chosen
  const same =
    tokenIds.length === rejected.tokenIds.length &&
    tokenIds.every((id, t) => id === rejected.tokenIds[t])
  return same ? "equal-sides" : undefined
}

/** Whether one answer says all of the other and more; ends of turns aside. */
export function isInside(
  sides: readonly (Side & { /** [T] */ readonly tokenClass: readonly number[] })[],
): boolean {
  const [chosen, rejected] = sides.map(({ tokenIds, lossMask, tokenClass }) =>
    tokenIds.filter((_, t) => lossMask[t] === 1 && tokenClass[t] === TOKEN_CLASS.content),
  )
  if (!chosen || !rejected || chosen.length === rejected.length) return false
  const [short, long] = chosen.length < rejected.length ? [chosen, rejected] : [rejected, chosen]
  return short.every((id, t) => id === long[t])
}

/**
 * Both answers stand behind the same prompt, token by token: what differs before them would be
 * compared too.
 *
 * @throws InputError naming the place and the two ids
 */
export function checkSharedPrompt([chosen, rejected]: readonly Side[]): void {
  if (!chosen || !rejected) return
  const end = Math.min(chosen.lossMask.indexOf(1), rejected.lossMask.indexOf(1))
  for (let t = 0; t < end; t++) {
    if (chosen.tokenIds[t] === rejected.tokenIds[t]) continue
    throw new InputError(
      `expected "chosen" and "rejected" to begin with the same prompt, but token ${t + 1} of it is ${chosen.tokenIds[t]} in one and ${rejected.tokenIds[t]} in the other; the chat template writes the prompt differently before them`,
    )
  }
}
