/** The calls in what a model says, as its template writes them. */
import { type CallForm, place } from "./call-form.ts"
import { behindSpace, valueEnd } from "./json-extent.ts"
import type { Tokenizer } from "./tokenizer.ts"

export interface CalledTool {
  readonly name: string
  /** A JSON object, as the model wrote it. */
  readonly arguments: string
}

export interface Said {
  /** What is said before the calls; without calls, all of it. */
  readonly content: string
  /** What is said behind them. */
  readonly after: string
  readonly calls: readonly CalledTool[]
}

/** Tools by name, each with the JSON schema of its arguments where it has one. */
export type Tools = ReadonlyMap<string, { readonly properties?: Readonly<Record<string, unknown>> }>

/** Calls of tools that were given; whatever else is said stays as it is. */
export function calledTools(text: string, form: CallForm, tools: Tools): Said {
  for (const start of beginnings(text, form)) {
    const read = callsAt(text, start, form, tools)
    if (!read) continue
    const [content, after] = [text.slice(0, start).trim(), text.slice(read.end).trim()]
    return { content, after, calls: read.calls }
  }
  return { content: text, after: "", calls: [] }
}

/** The text with which calls begin; "": they begin the answer, with what is theirs. */
export const opening = ({ open }: CallForm): string => open.trim().split(/\s/)[0]!

/**
 * Tells of a token whether it is text that a model said: calls are written with special ones too.
 */
export function spokenTokens(
  { open, between, close, body }: CallForm,
  { specialTokenIds, tokenText }: Pick<Tokenizer, "specialTokenIds" | "tokenText">,
  stopIds: ReadonlySet<number>,
): (id: number) => boolean {
  const marks = [open, between ?? "", close, ...Object.values(body).flat()].join()
  return (id) => !stopIds.has(id) && (!specialTokenIds.has(id) || marks.includes(tokenText(id)))
}

/** Where nothing opens calls: whether an answer that begins so may be one. */
export function mayBeCall(text: string, { body }: CallForm, tools: Tools): boolean {
  const begun = text.trimStart()
  const first = body.kind === "object" ? ["{"] : [...tools.keys()]
  return first.some((word) => word.startsWith(begun) || begun.startsWith(word))
}

/** Where calls may begin. */
function* beginnings(text: string, form: CallForm): Generator<number> {
  const first = opening(form)
  if (first === "") return yield behindSpace(text, 0)
  for (let at = text.indexOf(first); at >= 0; at = text.indexOf(first, at + 1)) yield at
}

interface Read<T> {
  readonly value: T
  readonly end: number
}

function callsAt(text: string, start: number, form: CallForm, tools: Tools) {
  const calls: CalledTool[] = []
  let end = behindMark(text, start, form.open)
  if (end < 0) return undefined
  for (;;) {
    const call = callAt(text, behindSpace(text, end), form, tools)
    if (!call) break
    calls.push(call.value)
    const closed = behindMark(text, call.end, form.close)
    // the last of an answer may be closed by the token that ends it
    if (closed < 0 && behindSpace(text, call.end) === text.length) {
      return { calls, end: text.length }
    }
    const next = form.between === undefined ? -1 : behindMark(text, call.end, form.between)
    const again = closed < 0 ? -1 : behindMark(text, closed, form.open)
    const goesOn = [next, again].find(
      (at) => at >= 0 && callAt(text, behindSpace(text, at), form, tools),
    )
    if (goesOn !== undefined) end = goesOn
    else if (closed >= 0) return { calls, end: closed }
    else break
  }
  return undefined
}

function callAt(
  text: string,
  at: number,
  { body }: CallForm,
  tools: Tools,
): Read<CalledTool> | undefined {
  if (body.kind === "object") {
    const end = text[at] === "{" ? valueEnd(text, at) : -1
    const named = end < 0 ? undefined : place(text, at, body.name)
    if (!named) return undefined
    const name: unknown = JSON.parse(text.slice(named.start, named.end))
    if (typeof name !== "string" || !tools.has(name)) return undefined
    const given = place(text, at, body.arguments)
    const args = given ? objectText(text.slice(given.start, given.end)) : "{}"
    return args === undefined ? undefined : { value: { name, arguments: args }, end }
  }
  for (const name of tools.keys()) {
    if (!text.startsWith(name, at)) continue
    const behind = at + name.length
    const args =
      body.kind === "named"
        ? namedArguments(text, behind, body)
        : keyedArguments(text, behind, body, tools.get(name)!)
    if (args) return { value: { name, arguments: args.value }, end: args.end }
  }
  return undefined
}

/** An object, or one written in a string; undefined for anything else. */
function objectText(json: string): string | undefined {
  const value: unknown = JSON.parse(json)
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return json
  if (typeof value !== "string" || !value.trimStart().startsWith("{")) return undefined
  return valueEnd(value.trim(), 0) === value.trim().length ? value.trim() : undefined
}

type Body<Kind> = Extract<CallForm["body"], { kind: Kind }>

function namedArguments(
  text: string,
  at: number,
  { between }: Body<"named">,
): Read<string> | undefined {
  const behind = behindMark(text, at, between)
  const start = behind < 0 ? -1 : behindSpace(text, behind)
  const end = text[start] === "{" ? valueEnd(text, start) : -1
  return end < 0 ? undefined : { value: text.slice(start, end), end }
}

function keyedArguments(
  text: string,
  at: number,
  { before, between, after, next }: Body<"keyed">,
  { properties = {} }: { readonly properties?: Readonly<Record<string, unknown>> },
): Read<string> | undefined {
  const given: Record<string, unknown> = {}
  const [keyEnd, valueEndMark] = [between.trim(), after.trim()]
  let end = at
  for (let mark = before; ; mark = next) {
    const start = behindMark(text, end, mark)
    const key = start < 0 ? -1 : text.indexOf(keyEnd, start)
    if (key < 0) break
    const valueStart = key + keyEnd.length
    const closed = text.indexOf(valueEndMark, valueStart)
    if (closed < 0) break
    const name = text.slice(start, key).trim()
    // the newlines that the template writes around a value are not the value's
    const value = text.slice(valueStart, closed).replace(/^\n|\n$/g, "")
    Object.defineProperty(given, name, { value: typed(value, properties[name]), enumerable: true })
    end = closed + valueEndMark.length
  }
  const none = end === at ? behindMark(text, at, (/^\s*\S/.exec(before) ?? [""])[0]) : end
  return none < 0 ? undefined : { value: JSON.stringify(given), end: none }
}

/** A value written as text: a string where the tool wants one, else what it says as JSON. */
function typed(text: string, schema: unknown): unknown {
  if (
    typeof schema === "object" &&
    schema !== null &&
    "type" in schema &&
    schema.type === "string"
  ) {
    return text
  }
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** Behind a text that stands at `at`, whatever the space in either; -1 where it does not. */
function behindMark(text: string, at: number, mark: string): number {
  let end = at
  for (const char of mark) {
    if (/\s/.test(char)) continue
    end = behindSpace(text, end)
    if (!text.startsWith(char, end)) return -1
    end += char.length
  }
  return end
}
