/** A sample for people: what was asked, and the answer, without the numbers. */

import type { Prompt } from "../../generate/sample-source.ts"

/** How a cut, or anything but an end of its own, is told. */
const ENDINGS: Readonly<Record<string, string>> = {
  length: "(cut at --max-new-tokens)",
}

/** What the user says last, or the text that is continued. */
export function askedText(prompt: Prompt): string {
  if (typeof prompt === "string") return prompt
  if ("tokenIds" in prompt) return ""
  const messages = "messages" in prompt ? prompt.messages : prompt
  return messages.findLast(({ role }) => role === "user")?.content ?? ""
}

/**
 * The text of one row that `generate` makes, below what was asked; a prompt of the command is not
 * repeated.
 */
export function sampleText(
  row: Readonly<Record<string, unknown>>,
  { asked, dim }: { readonly asked: string | undefined; readonly dim: (text: string) => string },
): string {
  const { completion, finish_reason: reason, error } = row
  const answer = error === undefined ? String(completion) : `no answer: ${String(error)}`
  const ending = ENDINGS[String(reason)]
  const lines = [answer.trimEnd(), ...(ending === undefined ? [] : [dim(ending)])]
  if (asked === undefined) return lines.join("\n")
  return [dim(`> ${asked.trim().replaceAll("\n", "\n> ")}`), ...lines, ""].join("\n")
}
