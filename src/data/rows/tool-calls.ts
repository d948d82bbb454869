import { InputError } from "../../errors.ts"
import { parseExactJson } from "../../formats/exact-json.ts"
import { describeValue, isObject, type JsonObject } from "../../formats/json.ts"
import { has, jsonValue } from "./values.ts"

/** {"function": {"name", "arguments"}}, or name and arguments alone. */
export interface ToolCall {
  readonly [key: string]: unknown
}

/**
 * The calls of an assistant's message, whichever of the usual forms they came in: OpenAI's
 * (arguments as JSON text, here decoded), all as one JSON text, and the `function_call` that came
 * before tools.
 *
 * @throws InputError for a call without a name
 */
export function toolCalls(message: JsonObject, at: string, where: string): ToolCall[] {
  const listed = has(message, "tool_calls")
    ? jsonValue(message.tool_calls === "" ? [] : message.tool_calls, `${at}.tool_calls`, where)
    : []
  const calls = Array.isArray(listed) ? listed : [listed]
  return [
    ...calls.map((call: unknown, i) => oneCall(call, `${at}.tool_calls[${i}]`, where)),
    ...(has(message, "function_call")
      ? callsInText(message.function_call, `${at}.function_call`, where)
      : []),
  ]
}

function oneCall(value: unknown, at: string, where: string): ToolCall {
  const call = jsonValue(value, at, where)
  const called = isObject(call) && isObject(call.function) ? call.function : call
  if (!isObject(call) || !isObject(called) || typeof called.name !== "string") {
    throw new InputError(
      `${where}: expected "${at}" to be a call with a name and arguments, got ${describeValue(call)}`,
    )
  }
  const { name, parameters, ...rest } = called
  const given = decoded(called.arguments ?? parameters)
  // as it is, so that a template that writes the whole call writes its keys in their order
  if (call !== called) return { ...call, function: { ...called, name, arguments: given } }
  const { arguments: _given, ...others } = rest
  return { ...others, name, arguments: given }
}

/** Arguments that are an object written as JSON; anything else stays as it is. */
function decoded(given: unknown): unknown {
  if (given === undefined || given === null || given === "") return {}
  if (typeof given !== "string") return given
  try {
    const value = parseExactJson(given)
    return isObject(value) ? value : given
  } catch {
    return given
  }
}

/**
 * Calls that are not in a list of calls: a turn of their own holds them as text (LLaMA-Factory,
 * ms-swift).
 */
export function callsInText(content: unknown, at: string, where: string): ToolCall[] {
  const value = jsonValue(content, at, where)
  return (Array.isArray(value) ? value : [value])
    .map((call: unknown) => oneCall(call, at, where))
    .map((call) => ("function" in call ? call : wrappedCall(call)))
}

/** A call in the form that most templates read. */
export function wrappedCall({ id, type: _type, ...called }: ToolCall): ToolCall {
  return { ...(id === undefined ? {} : { id }), type: "function", function: called }
}

/**
 * What a row's tools are to a template: a list of JSON schemas. They may come as JSON text, as
 * `functions`, and without the `{"type": "function"}` around each. undefined: none.
 */
export function toolsOf(row: JsonObject, where: string): { readonly tools?: readonly unknown[] } {
  const key = ["tools", "functions"].find((name) => has(row, name) && row[name] !== "")
  if (key === undefined) return {}
  const value = jsonValue(row[key], key, where)
  if (value === null) return {}
  const list = isObject(value) ? [value] : value
  if (!Array.isArray(list)) {
    throw new InputError(
      `${where}: expected "${key}" to be a list of tools, or one as JSON text, got ${describeValue(value)}`,
    )
  }
  if (list.length === 0) return {}
  return { tools: list.map((tool: unknown, i) => wrapped(tool, `${key}[${i}]`, where)) }
}

function wrapped(given: unknown, at: string, where: string): unknown {
  const tool = jsonValue(given, at, where)
  if (!isObject(tool)) {
    throw new InputError(`${where}: expected "${at}" to be an object, got ${describeValue(tool)}`)
  }
  const isBare = typeof tool.name === "string" && !has(tool, "function") && !has(tool, "type")
  return isBare ? { type: "function", function: tool } : tool
}
