import { askedOf, type LayoutParts } from "../data/render.ts"
import { rowsOf } from "../data/row-objects.ts"
import type { Columns } from "../data/rows/columns.ts"
import { type RowPrompt, readPrompt } from "../data/rows/prompt-row.ts"
import { InputError } from "../errors.ts"
import { describeValue, isObject, type JsonObject, parseJson } from "../formats/json.ts"
import type { Prompt } from "./sample-source.ts"

/** A row of a prompts file: what is asked, and all its fields, which the samples keep. */
export interface PromptRow {
  /** file:line, for errors. */
  readonly where: string
  readonly fields: JsonObject
  readonly prompt: Prompt
}

/** How prompts are laid out: as the rows were that the model was trained on. */
export interface PromptLayout extends LayoutParts {
  readonly columns: Columns
}

/** A prompt as a source of samples takes it. */
export function promptOf(row: RowPrompt, layout: LayoutParts): Prompt {
  const asked = askedOf(row, layout)
  if (typeof asked === "string") return asked
  const { messages, tools, variables } = asked
  return tools === undefined && variables === undefined
    ? messages
    : { messages, tools, ...(variables === undefined ? {} : { variables }) }
}

/**
 * The rows of a JSONL file, each asked as training would lay it out: what precedes the answer of a
 * training row, `prompt` (text as it is, or messages), messages, or a question.
 *
 * @throws InputError naming file and line
 */
export function promptRows(text: string, file: string, layout: PromptLayout): PromptRow[] {
  const rows = readPromptRows(text, file, layout.columns)
  return rows.map(({ where, fields, asked }) => ({
    where,
    fields,
    prompt: promptOf(asked, layout),
  }))
}

/** Text of a prompts file at most, unpacked: its rows are held. */
const MAX_PROMPT_BYTES = 500e6

/** A row before it is laid out. */
export interface AskedRow {
  readonly where: string
  readonly fields: JsonObject
  readonly asked: RowPrompt
}

/**
 * The rows of a file of any kind that training reads, before they are laid out; `system` is told to
 * rows that have no system text.
 *
 * @throws InputError naming file and line
 */
export async function readPromptFile(
  path: string,
  columns: Columns,
  system?: string,
): Promise<AskedRow[]> {
  const rows: AskedRow[] = []
  let held = 0
  for await (const { where, row, bytes } of rowsOf(path)) {
    held += bytes
    if (held > MAX_PROMPT_BYTES) {
      throw new InputError(`${where}: expected at most ${MAX_PROMPT_BYTES / 1e6} MB of prompts`)
    }
    rows.push({ where, fields: row, asked: readPrompt(row, { columns, where, system }) })
  }
  if (rows.length === 0) throw new InputError(`${path}: expected at least one row, found none`)
  return rows
}

/** The same of a text of JSON lines; `system` is told to rows that have no system text. */
export function readPromptRows(text: string, file: string, columns: Columns, system?: string) {
  const rows: AskedRow[] = []
  for (const [i, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue
    const where = `${file}:${i + 1}`
    const fields = parseJson(line, where)
    if (!isObject(fields)) {
      throw new InputError(`${where}: expected an object, got ${describeValue(fields)}`)
    }
    rows.push({ where, fields, asked: readPrompt(fields, { columns, where, system }) })
  }
  if (rows.length === 0) throw new InputError(`${file}: expected at least one row, found none`)
  return rows
}
