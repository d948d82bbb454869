/**
 * Writes docs/configuration.md from the config's schema, the only statement of every setting.
 *
 *     npx tsx scripts/config-reference.ts
 */
import { writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { configJsonSchema } from "../src/config/index.ts"

interface Schema {
  readonly description?: string
  readonly type?: string
  readonly const?: unknown
  readonly enum?: readonly unknown[]
  readonly default?: unknown
  readonly minimum?: number
  readonly maximum?: number
  readonly exclusiveMinimum?: number
  readonly exclusiveMaximum?: number
  readonly anyOf?: readonly Schema[]
  readonly oneOf?: readonly Schema[]
  readonly items?: Schema
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
}

const code = (value: unknown): string => `\`${JSON.stringify(value)}\``.replaceAll("|", "\\|")

const branches = ({ anyOf, oneOf }: Schema): readonly Schema[] => anyOf ?? oneOf ?? []

/** JSON Schema's bounds of whole numbers that only say "exactly representable". */
const isBound = (value: number | undefined): value is number =>
  value !== undefined && Math.abs(value) < 2 ** 32 - 1

function bounds({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }: Schema): string {
  const parts = [
    ...(isBound(minimum) ? [`≥ ${minimum}`] : []),
    ...(isBound(exclusiveMinimum) ? [`> ${exclusiveMinimum}`] : []),
    ...(isBound(maximum) ? [`≤ ${maximum}`] : []),
    ...(isBound(exclusiveMaximum) ? [`< ${exclusiveMaximum}`] : []),
  ]
  return parts.length === 0 ? "" : ` ${parts.join(", ")}`
}

function kind(schema: Schema): string {
  const several = branches(schema)
  if (several.length > 0) return [...new Set(several.map(kind))].join(" or ")
  if (schema.const !== undefined) return code(schema.const)
  if (schema.enum) return schema.enum.map(code).join(" ")
  if (schema.type === "array") return `list of ${kind(schema.items ?? {})}`
  if (schema.type === "integer") return `whole number${bounds(schema)}`
  if (schema.type === "object") return "keys below"
  return `${schema.type ?? "value"}${bounds(schema)}`
}

interface Row {
  readonly key: string
  readonly schema: Schema
  readonly required: boolean
}

/** Rows of an object's keys; objects inside follow under their path. */
function rowsOf(schema: Schema, path: string): Row[] {
  const { properties = {}, required = [] } = schema
  return Object.entries(properties).flatMap(([name, inner]) => {
    const key = path === "" ? name : `${path}.${name}`
    const needed = required.includes(name) && inner.default === undefined
    return [{ key, schema: inner, required: needed }, ...innerRows(inner, key)]
  })
}

function innerRows(schema: Schema, key: string): Row[] {
  if (key === "objective") return [] // docs/objectives.md has a row for each, held to the code
  if (schema.properties) return rowsOf(schema, key)
  if (schema.items) return innerRows(schema.items, `${key}[]`)
  return branches(schema).flatMap((branch) => innerRows(branch, key))
}

function line({ key, schema, required }: Row): string {
  const fallback = required
    ? "**required**"
    : schema.default === undefined
      ? "–"
      : code(schema.default)
  const text = (schema.description ?? "").replaceAll("|", "\\|").replaceAll("\n", " ")
  const values =
    key === "objective" ? "a name of [objectives.md](objectives.md), or its keys" : kind(schema)
  return `| \`${key}\` | ${values.replaceAll(" | ", " \\| ")} | ${fallback} | ${text} |`
}

/** The whole page. */
export function configReference(): string {
  const rows = rowsOf(configJsonSchema() as Schema, "")
  const seen = new Set<string>()
  const unique = rows.filter(({ key, schema }) => {
    if (/^data\.(eval|benchmarks)\[\]/.test(key)) return false // the keys of data.train[]
    const line = `${key} ${JSON.stringify(schema)}`
    return seen.has(line) ? false : seen.add(line)
  })
  return `# Configuration

YAML, JSON, or a TypeScript module with \`export default defineConfig({ ... })\`: one schema, the same keys. This page is made from the schema (\`npx tsx scripts/config-reference.ts\`); \`dftune config schema\` prints it for editors, and \`dftune config show CONFIG\` prints a config with every default filled in.
An unknown key, or an option that the chosen engine cannot honour, is an error with file, line and what was meant. Any key can be set on the command line: \`--set data.max_length=1024\`. Paths are looked for in the working directory, then beside the config. The keys of \`data.eval[]\` and \`data.benchmarks[]\` are those of \`data.train[]\`; a path alone stands for \`{ path: ... }\`.
Objectives and their parameters: [objectives.md](objectives.md). Rows and masks: [data.md](data.md).

| key | value | default | meaning |
| --- | --- | --- | --- |
${unique.map(line).join("\n")}
`
}

const path = fileURLToPath(new URL("../docs/configuration.md", import.meta.url))
if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(path, configReference())
