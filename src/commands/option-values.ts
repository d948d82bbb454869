import { InvalidArgumentError } from "commander"

/** A parser of whole numbers from `least` on. */
export function wholeFrom(least: number) {
  return (text: string): number => {
    const value = Number(text)
    if (text.trim() !== "" && Number.isSafeInteger(value) && value >= least) return value
    throw new InvalidArgumentError(`expected a whole number from ${least}`)
  }
}

/** A parser of numbers in a range, both ends in it. */
export function numberIn(least: number, most: number) {
  return (text: string): number => {
    const value = Number(text)
    if (text.trim() !== "" && value >= least && value <= most) return value
    throw new InvalidArgumentError(`expected a number from ${least} to ${most}`)
  }
}
