import { ExactFloat, exactMembers } from "../../formats/exact-json.ts"
import { Callable, Dict, Float, refuse, Thing, Tuple, Undefined, type Value } from "./values.ts"

/** A value of JavaScript's as Python's: what JSON can say, big integers and maps. */
export function fromJson(value: unknown): Value {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value
    case "number":
      return fromNumber(value)
    case "bigint":
      return Number.isSafeInteger(Number(value)) ? Number(value) : value
    case "object":
      return value === null ? null : fromObject(value)
    default:
      return refuse(`a ${typeof value} is nothing that a template can be given`)
  }
}

function fromNumber(value: number): Value {
  if (!Number.isInteger(value)) return new Float(value)
  if (Number.isSafeInteger(value)) return value + 0 // no -0
  return refuse(`the number ${value} has lost digits: give it as a bigint, or as text`)
}

function fromObject(value: object): Value {
  if (value instanceof ExactFloat) return new Float(value.value)
  if (Array.isArray(value)) return exactMembers(value).map(([, item]) => fromJson(item))
  const isOwn = [Float, Undefined, Tuple, Dict, Callable, Thing].some((it) => value instanceof it)
  if (isOwn) return value as Value
  const dict = new Dict()
  const pairs = value instanceof Map ? value : exactMembers(value)
  for (const [key, member] of pairs) {
    if (member !== undefined) dict.set(fromJson(key), fromJson(member))
  }
  return dict
}
