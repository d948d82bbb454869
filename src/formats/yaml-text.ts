import {
  type Alias,
  type Document,
  type DocumentOptions,
  LineCounter,
  type ParsedNode,
  type ParseOptions,
  parseDocument,
  type SchemaOptions,
  visit,
} from "yaml"
import { InputError } from "../errors.ts"
import { describeValue, isObject, type JsonObject } from "./json.ts"
import { yamlProblem } from "./yaml-problem.ts"

export interface YamlOptions extends ParseOptions, DocumentOptions, SchemaOptions {
  /** Whether a message says line and column; not of what is on a command line. */
  readonly placed?: boolean
}

export interface YamlText {
  readonly value: unknown
  readonly root: ParsedNode | null
  /** `:3:5`, the line and column of a place in the text; nothing for no place. */
  readonly place: (offset: number | undefined) => string
}

const MAX_ALIASES = 100

/**
 * YAML as plain values, with where they stand.
 *
 * @param where the file
 * @throws InputError with file, line, column and what to do
 */
export function readYaml(
  text: string,
  where: string,
  { placed = true, ...options }: YamlOptions = {},
): YamlText {
  const lines = new LineCounter()
  const place = (offset: number | undefined) => {
    if (offset === undefined) return ""
    const { line, col } = lines.linePos(offset)
    return `:${line}:${col}`
  }
  const refuse = (offset: number | undefined, says: string): never => {
    throw new InputError(`${where}${placed ? place(offset) : ""}: ${says}`)
  }
  const document = parseDocument(text, {
    ...options,
    lineCounter: lines,
    prettyErrors: false,
    stringKeys: true,
    logLevel: "error",
  })
  const lost = document.warnings.filter(({ code }) => code === "TAG_RESOLVE_FAILED")
  const [problem] = [...document.errors, ...lost]
  if (problem !== undefined) {
    const { code, message, pos } = problem
    const broken = { text, document, message, start: pos[0], end: pos[1] }
    const { at, says } = yamlProblem(code, broken)
    refuse(at, says)
  }
  try {
    return { value: document.toJS({ maxAliasCount: MAX_ALIASES }), root: document.contents, place }
  } catch (error) {
    if (!(error instanceof ReferenceError)) throw error
    const unknown = unknownAlias(document)
    if (unknown === undefined) {
      return refuse(undefined, "what its references (*name) repeat is too large; write it out")
    }
    const { source, range } = unknown
    return refuse(
      range?.[0],
      `*${source} repeats what an earlier line names &${source}, and none does; put a text that begins with * in quotes`,
    )
  }
}

function unknownAlias(document: Document.Parsed): Alias | undefined {
  let found: Alias | undefined
  visit(document, {
    Alias(_, alias) {
      if (alias.resolve(document) !== undefined) return undefined
      found = alias
      return visit.BREAK
    },
  })
  return found
}

/** Keys with values. @throws InputError for anything else, as {@link readYaml} does */
export function mappingOf({ value, root, place }: YamlText, where: string): JsonObject {
  if (isObject(value)) return value
  if (value === null) throw new InputError(`${where}: expected keys and values, got nothing`)
  const hint = typeof value === "string" ? "; write key: value, with a space after the colon" : ""
  throw new InputError(
    `${where}${place(root?.range[0])}: expected keys and values, got ${describeValue(value)}${hint}`,
  )
}
