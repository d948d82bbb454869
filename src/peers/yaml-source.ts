import { parse as parseYaml, type ScalarTag, YAMLParseError } from "yaml"
import { InputError } from "../errors.ts"
import { dottedValues, isObject } from "../formats/json.ts"

/** Timestamps and the like stay texts: a run called 2026-01-01 is a name. Truths are PyYAML's, below. */
const OTHER_TAGS = /bool|timestamp|binary|omap|pairs|set$/
/** PyYAML takes `yes` and `on`, not YAML 1.1's `y` and `n`. */
const TRUTHS: readonly ScalarTag[] = [
  [true, /^(?:yes|Yes|YES|true|True|TRUE|on|On|ON)$/] as const,
  [false, /^(?:no|No|NO|false|False|FALSE|off|Off|OFF)$/] as const,
].map(([value, test]) => ({
  tag: "tag:yaml.org,2002:bool",
  default: true,
  test,
  resolve: () => value,
}))
const tagOf = (tag: unknown): string =>
  typeof tag === "string" ? tag : String((tag as { tag?: unknown }).tag)

/**
 * A mapping, read as PyYAML reads it (YAML 1.1): `500_000` is a number, `yes` and `on` are true,
 * `<<` merges. `2e-4` is a number too, as every trainer casts it.
 *
 * @throws InputError naming the file
 */
export function yamlRecord(text: string, file: string): Record<string, unknown> {
  let value: unknown
  try {
    value = parseYaml(text, {
      version: "1.1",
      merge: true,
      maxAliasCount: 100,
      customTags: (tags) => [...TRUTHS, ...tags.filter((tag) => !OTHER_TAGS.test(tagOf(tag)))],
      logLevel: "error",
    })
  } catch (error) {
    // The parser throws a ReferenceError for aliases: unknown ones, or too many to be honest.
    if (!(error instanceof YAMLParseError || error instanceof ReferenceError)) throw error
    throw new InputError(`${file}: not YAML or JSON: ${error.message}`)
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>
  }
  const came = value === null ? "nothing" : Array.isArray(value) ? "a list" : typeof value
  throw new InputError(`${file}: expected keys and values, got ${came}`)
}

/** Nested mappings as dotted keys, `a.b.c`; lists are values. */
export const dotted = (record: Readonly<Record<string, unknown>>): Record<string, unknown> =>
  Object.fromEntries(dottedValues(record).filter(([, value]) => !isObject(value)))
