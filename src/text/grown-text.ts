/** What the normaliser and the decoder of a tokenizer.json may make of a text. */
import { InputError } from "../errors.ts"
import { isObject, type JsonObject } from "../formats/json.ts"

/** Characters that the steps of one side write of their own; what is published has five at most. */
const MOST_WRITTEN = 4096
/** How many times as long the steps of one side may make a text. */
const MOST_GROWN = 64
/** Steps of one side; what is published has ten at most. */
const MOST_STEPS = 256

/**
 * Each text is held to these: steps that multiply would take gigabytes for a row of a few words.
 *
 * @throws InputError naming the side and what it asks for
 */
export function checkGrowth(tokenizer: JsonObject, path: string): void {
  for (const side of ["normalizer", "decoder"] as const) {
    const steps = stepsOf(tokenizer[side])
    const wrong = (asked: string, most: number, got: number | string) =>
      new InputError(`${path}: "${side}": expected ${asked} of at most ${most}, got ${got}`)
    if (steps.length > MOST_STEPS) throw wrong("a number of steps", MOST_STEPS, steps.length)
    const written = steps.map(writtenBy)
    const characters = written.reduce((sum, text) => sum + text.length, 0)
    if (characters > MOST_WRITTEN) {
      throw wrong("texts to write", MOST_WRITTEN, `${characters} characters`)
    }
    const grown = steps.reduce((times, step, i) => times * growthOf(step, written[i]!), 1)
    if (grown > MOST_GROWN) {
      throw wrong("a growth of each text", MOST_GROWN, `${grown.toPrecision(3)} times`)
    }
  }
}

/** All steps, those of sequences in sequences among them: the header's depth is bounded before. */
function stepsOf(value: unknown): JsonObject[] {
  if (!isObject(value)) return []
  const inner = [value.normalizers, value.decoders].flatMap((list) =>
    Array.isArray(list) ? list.flatMap(stepsOf) : [],
  )
  return [value, ...inner]
}

const writtenBy = (step: JsonObject): string =>
  [step.content, step.prepend, step.replacement].filter((text) => typeof text === "string").join("")

/** Of a replacement alone: what stands before a text once is counted with what is written. */
function growthOf({ type, pattern }: JsonObject, written: string): number {
  if (type !== "Replace") return 1
  const literal = isObject(pattern) && typeof pattern.String === "string" ? pattern.String : "x"
  return Math.max(1, written.length / Math.max(1, literal.length))
}
