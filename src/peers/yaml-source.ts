import type { ScalarTag } from "yaml"
import { dottedValues, isObject, type JsonObject } from "../formats/json.ts"
import { mappingOf, readYaml } from "../formats/yaml-text.ts"

/**
 * Timestamps and the like stay texts: a run called 2026-01-01 is a name. Truths are PyYAML's,
 * below.
 */
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
export function yamlRecord(text: string, file: string): JsonObject {
  const yaml = readYaml(text, file, {
    version: "1.1",
    merge: true,
    customTags: (tags) => [...TRUTHS, ...tags.filter((tag) => !OTHER_TAGS.test(tagOf(tag)))],
  })
  return mappingOf(yaml, file)
}

/** Nested mappings as dotted keys, `a.b.c`; lists are values. */
export const dotted = (record: Readonly<Record<string, unknown>>): Record<string, unknown> =>
  Object.fromEntries(dottedValues(record).filter(([, value]) => !isObject(value)))
