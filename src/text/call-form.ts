/** How a chat template writes the tools that an assistant calls, learned from what it renders. */
import type { ChatMessage } from "./chat-message.ts"
import type { ChatTemplate } from "./chat-template.ts"
import { members, valueEnd } from "./json-extent.ts"
import { attempt } from "./span-search.ts"

/** The way from an object to one of its values. */
export type Path = readonly string[]

/** One call, between what stands around calls. */
export type CallBody =
  /** A JSON object that holds name and arguments. */
  | { readonly kind: "object"; readonly name: Path; readonly arguments: Path }
  /** The name, and the arguments as a JSON object. */
  | { readonly kind: "named"; readonly between: string }
  /** The name, and each argument by itself, its value as text. */
  | {
      readonly kind: "keyed"
      readonly before: string
      readonly between: string
      readonly after: string
      /** Between one argument and the next. */
      readonly next: string
    }

export interface CallForm {
  readonly body: CallBody
  /** Before the first call, between two, and behind the last; space in them does not matter. */
  readonly open: string
  /** undefined: the template writes one call a message. */
  readonly between: string | undefined
  readonly close: string
  /** What a call begins with: up to the name, and with a name up to its arguments. */
  readonly begun: (name?: string) => string
}

const NAMES = ["zqtoolone", "zqtooltwo"] as const
const KEYS = ["zqkeyone", "zqkeytwo"] as const
const VALUES = ["zqvalueone", "zqvaluetwo"] as const
const CONTENT = "zqcontent"
const ID = "zqcall00"
const ARGUMENTS = { [KEYS[0]]: VALUES[0], [KEYS[1]]: VALUES[1] }

const forms = new WeakMap<ChatTemplate, CallForm | null>()

/** null: the template writes no calls, or in no form that is understood here. */
export function callForm(template: ChatTemplate): CallForm | null {
  let form = forms.get(template)
  if (form === undefined) {
    form = learned(template)
    forms.set(template, form)
  }
  return form
}

function learned(template: ChatTemplate): CallForm | null {
  for (const count of [2, 1]) {
    const text = said(template, CONTENT, count)
    if (text === undefined) continue
    const behind = text.indexOf(CONTENT)
    // a template that leaves out what is said beside calls shows them alone
    const shown = behind < 0 ? text : text.slice(behind + CONTENT.length)
    for (const form of [objectForm, namedForm, keyedForm]) {
      const found = form(shown, count)
      if (found) return found
    }
  }
  return null
}

const TOOLS = NAMES.map((name) => ({
  type: "function",
  function: {
    name,
    description: name,
    parameters: {
      type: "object",
      properties: Object.fromEntries(KEYS.map((key) => [key, { type: "string" }])),
    },
  },
}))

/** Whether the template tells the model of the tools at all. */
export function showsTools(template: ChatTemplate): boolean {
  const asked: ChatMessage[] = [{ role: "user", content: "zqask" }]
  const rendered = attempt(() => template.renderWithSpans(asked, { tools: TOOLS }))
  return rendered !== undefined && NAMES.every((name) => rendered.text.includes(name))
}

/** What the assistant says who calls the first `count` tools. */
function said(template: ChatTemplate, content: string, count: number): string | undefined {
  const calls = NAMES.slice(0, count).map((name, i) => ({
    id: `${ID}${i}`, // nine characters, as Mistral's templates want them
    type: "function",
    function: { name, arguments: ARGUMENTS },
  }))
  const messages: ChatMessage[] = [
    { role: "user", content: "zqask" },
    { role: "assistant", content, tool_calls: calls },
  ]
  const rendered = attempt(() => template.renderWithSpans(messages, { tools: TOOLS }))
  const span = rendered?.spans.at(-1)
  if (!span) return undefined
  const text = rendered!.text.slice(span.start, span.end)
  return NAMES.slice(0, count).every((name) => text.includes(name)) ? text : undefined
}

/** A piece of a rendering that is one call. */
interface Found {
  readonly start: number
  readonly end: number
}

/** What stands around the calls that were found. */
function around(text: string, calls: readonly Found[]) {
  const [first, second] = calls as [Found, Found?]
  return {
    open: text.slice(0, first.start).trimStart(),
    between: second && text.slice(first.end, second.start),
    close: text.slice((second ?? first).end),
  }
}

function objectForm(text: string, count: number): CallForm | undefined {
  const calls: (Found & Pick<Extract<CallBody, { kind: "object" }>, "name" | "arguments">)[] = []
  let at = 0
  for (const name of NAMES.slice(0, count)) {
    for (at = text.indexOf("{", at); at >= 0; at = text.indexOf("{", at + 1)) {
      const end = valueEnd(text, at)
      if (end < 0) continue
      const paths = {
        name: pathTo(text, at, isText(name)),
        arguments: pathTo(text, at, isArguments),
      }
      if (!paths.name || !paths.arguments) continue
      calls.push({ start: at, end, name: paths.name, arguments: paths.arguments })
      at = end
      break
    }
  }
  if (calls.length < count) return undefined
  const { start, name, arguments: given } = calls[0]!
  const body: CallBody = { kind: "object", name, arguments: given }
  const begun = (called?: string) => {
    const wanted = place(text, start, called === undefined ? name : given)!.start
    const [written] = text.slice(0, wanted).split(`"${ID}`) as [string] // an id is the model's
    return (called === undefined ? written : written.replace(NAMES[0], called)).trim()
  }
  return { body, ...around(text, calls), begun }
}

function namedForm(text: string, count: number): CallForm | undefined {
  const calls: (Found & { readonly between: string })[] = []
  let from = 0
  for (const name of NAMES.slice(0, count)) {
    const start = text.indexOf(name, from)
    const at = text.indexOf("{", start)
    if (start < 0 || at < 0 || !isArguments(text, at)) return undefined
    from = valueEnd(text, at)
    calls.push({ start, end: from, between: text.slice(start + name.length, at) })
  }
  const { between } = calls[0]!
  const outside = around(text, calls)
  const begun = (called?: string) =>
    called === undefined ? outside.open.trim() : `${outside.open}${called}${between}`.trim()
  return { body: { kind: "named", between }, ...outside, begun }
}

function keyedForm(text: string, count: number): CallForm | undefined {
  const ends: Found[] = []
  const gaps: string[][] = []
  let from = 0
  for (const name of NAMES.slice(0, count)) {
    const start = text.indexOf(name, from)
    let at = start + name.length
    const between: string[] = []
    for (const word of [KEYS[0], VALUES[0], KEYS[1], VALUES[1]]) {
      const found = text.indexOf(word, at)
      if (start < 0 || found < 0) return undefined
      between.push(text.slice(at, found))
      at = found + word.length
    }
    from = at
    ends.push({ start, end: at })
    gaps.push(between)
  }
  const [before, between, next, again] = gaps[0]! as [string, string, string, string]
  if (between !== again || next === "" || between === "") return undefined
  const outside = around(text, ends)
  // what closes the last argument is written behind each of them
  const after =
    /^[\s\S]*[\s>\]]/.exec(commonStart(next, outside.between ?? outside.close))?.[0] ?? ""
  if (after.trim() === "") return undefined
  const rest = (part: string) => part.slice(after.length)
  const outer = {
    open: outside.open,
    between: outside.between === undefined ? undefined : rest(outside.between),
    close: rest(outside.close),
  }
  const begun = (called = "") => `${outside.open}${called}`.trim()
  const body: CallBody = { kind: "keyed", before, between, after, next: rest(next) }
  return { body, ...outer, begun }
}

function commonStart(a: string, b: string): string {
  let size = 0
  while (size < a.length && a[size] === b[size]) size++
  return a.slice(0, size)
}

type Fits = (text: string, at: number) => boolean

const isText =
  (wanted: string): Fits =>
  (text, at) =>
    text.startsWith(JSON.stringify(wanted), at)

/** The arguments as an object, or as one written in a string. */
const isArguments: Fits = (text, at) => {
  const end = valueEnd(text, at)
  if (end < 0) return false
  const value: unknown = JSON.parse(text.slice(at, end))
  if (typeof value === "string") return value.startsWith("{") && isArguments(value, 0)
  return JSON.stringify(value) === JSON.stringify(ARGUMENTS)
}

/** The way to the first value that fits, through objects alone. */
function pathTo(text: string, at: number, fits: Fits): Path | undefined {
  for (const { name, start } of members(text, at)) {
    if (fits(text, start)) return [name]
    const inner = text[start] === "{" ? pathTo(text, start, fits) : undefined
    if (inner) return [name, ...inner]
  }
  return undefined
}

/** Where the value at a path of the object at `at` lies. */
export function place(text: string, at: number, path: Path): Found | undefined {
  let found: Found = { start: at, end: at }
  for (const name of path) {
    const member: Found | undefined =
      text[found.start] === "{"
        ? members(text, found.start).find((member) => member.name === name)
        : undefined
    if (!member) return undefined
    found = member
  }
  return found
}
