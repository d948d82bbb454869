import { type Document, type ErrorCode, isCollection, isMap, isScalar, visit } from "yaml"

/** A text that the parser refused, and where. */
export interface BrokenYaml {
  readonly text: string
  readonly document: Document.Parsed
  /** In UTF-16 units, from 0. */
  readonly start: number
  readonly end: number
  /** The parser's own words. */
  readonly message: string
}

/** What is wrong and what to do; `at` where that is another place than the parser's. */
interface Told {
  readonly says: string
  readonly at?: number | undefined
}

const QUOTES = "put a text that begins with it in quotes"
const NAMES = `&, * and ! begin names in YAML, and one stands wrong here; ${QUOTES}`

const SAYS: { readonly [Code in ErrorCode]: (broken: BrokenYaml) => string | Told } = {
  ALIAS_PROPS: () => NAMES,
  BAD_ALIAS: () => NAMES,
  BAD_COLLECTION_TYPE: () => NAMES,
  BAD_DIRECTIVE: () => `% begins a directive in YAML; ${QUOTES}`,
  BAD_DQ_ESCAPE: ({ text, start }) =>
    `${text.slice(start, start + 2)} is no escape; inside double quotes a backslash is written \\\\`,
  BAD_INDENT: badIndent,
  BAD_PROP_ORDER: () => NAMES,
  BAD_SCALAR_START: ({ text, start }) => `${text[start]} cannot begin a text; ${QUOTES}`,
  BLOCK_AS_IMPLICIT_KEY: secondKey,
  BLOCK_IN_FLOW: () => "a comma is missing between two items of [ ] or { }",
  DUPLICATE_KEY: duplicateKey,
  IMPOSSIBLE: () => "the text cannot be read here; put it in quotes",
  KEY_OVER_1024_CHARS: () => "expected a key of at most 1024 characters",
  MISSING_CHAR: missingCharacter,
  MULTILINE_IMPLICIT_KEY: (broken) =>
    openBracket(broken) === undefined
      ? withoutValue(broken)
      : "a comma is missing at the end of this line",
  MULTIPLE_ANCHORS: () => NAMES,
  MULTIPLE_DOCS: () => "a second document begins here; expected one, so remove this line",
  MULTIPLE_TAGS: () => NAMES,
  NON_STRING_KEY: () =>
    "expected a text as the key, got a list or mapping; put a text with { or [ in quotes",
  RESOURCE_EXHAUSTION: () => "expected lists and mappings that nest less deep",
  TAB_AS_INDENT: () => "a tab stands in the indentation; YAML takes only spaces there",
  TAG_RESOLVE_FAILED: () => `! begins the name of a type, and this one is not known; ${QUOTES}`,
  UNEXPECTED_TOKEN: unexpected,
}

/** The parser's code in a sentence. */
export function yamlProblem(code: ErrorCode, broken: BrokenYaml): Required<Told> {
  const told = SAYS[code](broken)
  const { says, at } = typeof told === "string" ? { says: told, at: undefined } : told
  return { says, at: at ?? broken.start }
}

/** What begins at `start` in its line. */
function words({ text, start }: BrokenYaml): string {
  const line = text
    .slice(start)
    .split(/\r?\n|\r/, 1)[0]!
    .trim()
  return JSON.stringify(line.length > 40 ? `${line.slice(0, 37)}...` : line)
}

const lineOf = (text: string, offset: number) => text.slice(0, offset).split("\n").length

const withoutValue = (broken: BrokenYaml) =>
  `${words(broken)} has no value; expected key: value, with a space after the colon`

function duplicateKey({ text, document, start }: BrokenYaml): string {
  let name = ""
  let first = 0
  visit(document, {
    Map(_, { items }) {
      const keys = items.flatMap(({ key }) => (isScalar(key) && key.range ? [key] : []))
      const twice = keys.find(({ range }) => range![0] === start)
      if (twice === undefined) return undefined
      name = String(twice.value)
      first = keys.find(({ value }) => value === twice.value)!.range![0]
      return visit.BREAK
    },
  })
  return `the key ${JSON.stringify(name)} is there twice, first in line ${lineOf(text, first)}; keep one`
}

/** Where the innermost [ or { before the problem begins that has no end. */
function openBracket({ text, document, start }: BrokenYaml): number | undefined {
  let open: number | undefined
  visit(document, {
    Collection(_, node) {
      if (!isCollection(node) || node.flow !== true || !node.range) return
      const [begin, end] = node.range
      const close = isMap(node) ? "}" : "]"
      const isClosed = end - begin > 1 && text[end - 1] === close && end <= start
      if (begin < start && !isClosed) open = begin
    },
  })
  return open
}

function unclosedBracket(broken: BrokenYaml): Told {
  const { text, start } = broken
  const at = openBracket(broken) ?? start
  const [bracket, close] = text[at] === "{" ? ["{", "}"] : ["[", "]"]
  const line = lineOf(text, start)
  const isSaid = line > lineOf(text, at) && text.slice(start).trim() !== ""
  const seen = isSaid ? ` before line ${line}` : ""
  return { at, says: `${bracket} has no ${close} that closes it${seen}` }
}

function unclosedQuote({ text, document, start }: BrokenYaml): Told {
  let at: number | undefined
  const look = (begin: number | undefined, end: number) => {
    if (begin !== undefined && /["']/.test(text[begin]!) && begin < start && end >= start)
      at = begin
  }
  visit(document, { Scalar: (_, { range }) => look(range?.[0], range?.[2] ?? 0) })
  return { at, says: `the quote ${at === undefined ? "" : text[at]} that begins here has no end` }
}

function badIndent(broken: BrokenYaml): string | Told {
  const { text, start, message } = broken
  const before = text.slice(text.lastIndexOf("\n", start - 1) + 1, start)
  if (/^\s*\t\s*$/.test(before)) return SAYS.TAB_AS_INDENT(broken)
  if (message.startsWith("Flow")) return unclosedBracket(broken)
  return "this line is indented otherwise than those it belongs to; begin it in their column"
}

function secondKey({ text, start, message }: BrokenYaml): string | Told {
  if (message.includes("sequence")) {
    return "this line is indented otherwise than the list above it; begin it in the list's column"
  }
  const line = text.slice(start).split("\n", 1)[0]!
  if (/:(\s|$)/.test(line)) {
    return 'a second ": " stands in this line; put the value in quotes, or begin a new line'
  }
  const next = start + line.length + 1
  return {
    at: next + /^[ ]*/.exec(text.slice(next))![0].length,
    says: "this line is indented deeper than the one above it, which has a value already",
  }
}

function missingCharacter(broken: BrokenYaml): string | Told {
  const { message } = broken
  if (message.startsWith("Missing closing")) return unclosedQuote(broken)
  if (message.startsWith("Implicit map keys")) return withoutValue(broken)
  if (message.startsWith("Missing ,")) return "a comma is missing before this"
  if (message.startsWith("Missing space")) return "a space is missing after the colon"
  if (message.startsWith("Flow")) return unclosedBracket(broken)
  if (message.startsWith("Comments")) {
    return "# begins a comment only after a space; put a text with # in quotes"
  }
  if (message.startsWith("Block collection")) return "settings begin on the line after ---"
  if (message.startsWith("Block scalars")) {
    return "an empty line above is indented deeper than this text; remove its spaces"
  }
  if (message.includes("directives-end")) return SAYS.BAD_DIRECTIVE(broken)
  if (message.startsWith("Tags and anchors")) return NAMES
  return SAYS.IMPOSSIBLE(broken)
}

function unexpected(broken: BrokenYaml): string | Told {
  const { text, start, message } = broken
  const sign = text[start]!
  if (message.includes("at node end")) {
    const quote = text.slice(0, start).trimEnd().at(-1)
    if (quote === "'") return "the text in ' ends before this; inside it, write '' for one '"
    if (quote === '"') return 'the text in " ends before this; inside it, write \\" for one "'
    return `expected key: value, or nothing more, got ${words(broken)}`
  }
  if (sign === ",") return "a comma stands here with nothing before it; remove it"
  if (sign === "]" || sign === "}") return `${sign} closes nothing; remove it`
  if (message.startsWith("Block scalar header"))
    return "behind | or > the text begins on a new line"
  if (message.includes("block-seq-ind")) {
    return "a list begins on the line after its key, each item behind a - of its own"
  }
  if (openBracket(broken) !== undefined) return "a comma is missing before this"
  return `expected nothing more here, got ${words(broken)}`
}
