import { InputError } from "../../errors.ts"

/**
 * A template comes from a stranger's folder: whatever it says, it ends, and makes no more than
 * this. A chat of 1,000 messages spends 20 to 80 thousand.
 */
const MAX_WORK = 5_000_000
/** UTF-16 units of one text. */
const MAX_TEXT = 1 << 24
/** Calls of macros, `caller` and recursive loops inside one another. */
const MAX_DEPTH = 200

let left = MAX_WORK
let depth = 0

/** Runs with a budget of its own. */
export function withBudget<T>(work: () => T): T {
  const before = [left, depth] as const
  left = MAX_WORK
  depth = 0
  try {
    return work()
  } finally {
    ;[left, depth] = before
  }
}

/** @throws InputError when a template goes on for too long */
export function spend(units: number): void {
  left -= units
  if (left < 0) throw new InputError(`it goes on after ${MAX_WORK} steps`)
}

/** Asked before a text of so many units is made: copying it costs as well as holding it. */
export function spendText(units: number): void {
  if (units > MAX_TEXT) throw new InputError(`it makes a text of more than ${MAX_TEXT} characters`)
  spend(units / 16)
}

/** Two texts joined share what they are made of, until they are read. */
export function joinedText(left: string, right: string): string {
  const units = left.length + right.length
  if (units > MAX_TEXT) throw new InputError(`it makes a text of more than ${MAX_TEXT} characters`)
  spend(units / 128)
  return left + right
}

/** @throws InputError when what is written has become too much */
export function spendOutput(whole: number, added: number): void {
  if (whole > MAX_TEXT) throw new InputError(`it makes a text of more than ${MAX_TEXT} characters`)
  spend(added / 128)
}

/** A call inside calls. */
export function nested<T>(work: () => T): T {
  if (depth >= MAX_DEPTH) throw new InputError(`its calls go more than ${MAX_DEPTH} deep`)
  depth++
  try {
    return work()
  } finally {
    depth--
  }
}
