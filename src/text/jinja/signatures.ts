import { type Named, refuse, typeName, type Value } from "./values.ts"

/**
 * A function of Python's with the names of its parameters: `?` marks one that may be left out, and
 * a leading `/` says that none may be given by name.
 */
export interface Signature<Self> {
  readonly names: readonly string[]
  readonly required: number
  readonly byPosition: boolean
  readonly run: (self: Self, args: readonly (Value | undefined)[]) => Value
}

export function signature<Self>(parameters: string, run: Signature<Self>["run"]): Signature<Self> {
  const byPosition = parameters.startsWith("/")
  const all = parameters.replace("/", "").split(" ").filter(Boolean)
  return {
    names: all.map((name) => name.replace("?", "")),
    required: all.filter((name) => !name.endsWith("?")).length,
    byPosition,
    run,
  }
}

/** Calls with arguments put in their places. @throws InputError where Python raises a TypeError */
export function applied<Self>(
  name: string,
  { names, required, byPosition, run }: Signature<Self>,
  self: Self,
  given: readonly Value[],
  named: Named,
): Value {
  if (given.length > names.length) {
    refuse(`${name}() takes at most ${names.length} arguments (${given.length} given)`)
  }
  const args: (Value | undefined)[] = [...given]
  for (const [key, value] of named) {
    const place = names.indexOf(key)
    if (place < 0 || byPosition) {
      refuse(`${name}() got an unexpected keyword argument '${key}'`)
    }
    if (args[place] !== undefined) refuse(`${name}() got multiple values for argument '${key}'`)
    args[place] = value
  }
  for (let i = 0; i < required; i++) {
    if (args[i] === undefined) refuse(`${name}() missing argument '${names[i]}'`)
  }
  return run(self, args)
}

export function textArgument(value: Value | undefined, where: string): string {
  if (typeof value === "string") return value
  return refuse(`${where}() expected str, not ${typeName(value ?? null)}`)
}

export function wholeArgument(value: Value | undefined, preset: number, where: string): number {
  if (value === undefined) return preset
  if (typeof value === "number" || typeof value === "boolean" || typeof value === "bigint") {
    return Number(value)
  }
  return refuse(`${where}() expected an integer, not ${typeName(value)}`)
}
