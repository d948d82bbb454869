import { existsSync } from "node:fs"
import { join } from "node:path"
import { InputError } from "../errors.ts"
import { isObject } from "../formats/json.ts"
import { readJsonObject } from "../formats/json-files.ts"
import { refuseLinkOut } from "../formats/link-out.ts"
import { ASKED_KINDS, type AskedKind, type Layout, UNKNOWN_LAYOUT } from "./layout.ts"
import type { PlainTexts } from "./render.ts"

/** In a model folder; other tools pass over it. */
export const LAYOUT_FILE = "dftune.json"
const VERSION = 1

/** `template` as `data.template` has it. */
const TEMPLATE_NAMES = { auto: "auto", none: "none", all: true } as const satisfies Record<
  PlainTexts,
  string | boolean
>

/** What the file says. */
export function layoutText({ plainTexts, columns, trained }: Layout): string {
  const layout = { template: TEMPLATE_NAMES[plainTexts], columns, rows: trained }
  return `${JSON.stringify({ version: VERSION, layout }, null, 2)}\n`
}

/**
 * How the rows of the model in a folder were laid out; nothing is known of a model that another
 * tool made.
 *
 * @throws InputError for a file that cannot be understood
 */
export async function readLayout(folder: string): Promise<Layout> {
  const path = join(folder, LAYOUT_FILE)
  if (!existsSync(path)) return UNKNOWN_LAYOUT
  refuseLinkOut(folder, LAYOUT_FILE)
  const { version, layout } = await readJsonObject(path)
  if (version !== VERSION || !isObject(layout)) {
    throw new InputError(
      `${path}: expected version ${VERSION} with a layout, got version ${JSON.stringify(version)}; another dftune wrote it (remove it, and prompts are asked as their keys say)`,
    )
  }
  const plainTexts = (Object.keys(TEMPLATE_NAMES) as PlainTexts[]).find(
    (name) => TEMPLATE_NAMES[name] === layout.template,
  )
  if (plainTexts === undefined) {
    throw new InputError(
      `${path}: expected "template" to be auto, none or true, got ${JSON.stringify(layout.template)}`,
    )
  }
  return { plainTexts, columns: columnsOf(layout.columns), trained: rowsOf(layout.rows) }
}

function columnsOf(given: unknown): Layout["columns"] {
  if (!isObject(given)) return {}
  const named = Object.entries(given).filter(
    (entry): entry is [string, string | null] => entry[1] === null || typeof entry[1] === "string",
  )
  return Object.fromEntries(named)
}

function rowsOf(given: unknown): Layout["trained"] {
  if (!isObject(given)) return null
  const count = (kind: AskedKind) => (typeof given[kind] === "number" ? given[kind] : 0)
  return Object.fromEntries(ASKED_KINDS.map((kind) => [kind, count(kind)])) as Record<
    AskedKind,
    number
  >
}
