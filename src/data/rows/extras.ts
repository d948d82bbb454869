/** What a row has beside its conversation: tools, variables of the template, a system text. */
import { InputError } from "../../errors.ts"
import type { JsonObject } from "../../formats/json.ts"
import { type Chat, joined } from "./messages.ts"
import { systemOf } from "./questions.ts"
import { toolsOf } from "./tool-calls.ts"
import { has, jsonValue } from "./values.ts"

/** Variables of the template that a row brings along (TRL reads them). */
function variablesOf(row: JsonObject, where: string) {
  const key = "chat_template_kwargs"
  if (!has(row, key) || row[key] === "") return {}
  const variables = jsonValue(row[key], key, where)
  if (typeof variables === "object" && variables !== null && !Array.isArray(variables))
    return { variables: variables as Readonly<Record<string, unknown>> }
  throw new InputError(`${where}: expected "${key}" to be an object`)
}

/** What a chat may have beside its messages, and the keys it came from. */
export function extrasOf(row: JsonObject, where: string) {
  const extras = { ...toolsOf(row, where), ...variablesOf(row, where) }
  const used = [
    ...("tools" in extras ? ["tools", "functions"] : []),
    ...("variables" in extras ? ["chat_template_kwargs"] : []),
  ]
  return { extras, used }
}

/** A system message of the row goes first, unless the chat has one. */
export function withSystem(chat: Chat, row: JsonObject, where: string) {
  const system = systemOf(row, where)
  const first = chat.messages[0]
  if (system === undefined) return { chat, used: [] }
  if (first?.role === "system" || first?.role === "developer")
    return { chat, used: first.content === system.text ? [system.key] : [] }
  const told: Chat = { messages: [{ role: "system", content: system.text }], context: [] }
  return { chat: joined(told, chat), used: [system.key] }
}
