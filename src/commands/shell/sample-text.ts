/** A sample for people: what was asked, and the answer, without the numbers. */

/** How a cut, or anything but an end of its own, is told. */
const ENDINGS: Readonly<Record<string, string>> = {
  length: "(cut at --max-new-tokens)",
}

/** The fields of a row that may say what was asked, the likeliest first. */
const ASKED = ["prompt", "messages", "problem", "question", "query", "instruction"] as const

function askedText(row: Readonly<Record<string, unknown>>): string {
  const value = ASKED.map((key) => row[key]).find((each) => each !== undefined)
  if (typeof value === "string") return value
  if (!Array.isArray(value)) return ""
  const { content } = (value.findLast(({ role }) => role === "user") ?? {}) as { content?: unknown }
  return typeof content === "string" ? content : ""
}

/**
 * The text of one row that `generate` makes. With `alone` the prompt is not repeated: it stands in
 * the command.
 */
export function sampleText(
  row: Readonly<Record<string, unknown>>,
  { alone, dim }: { readonly alone: boolean; readonly dim: (text: string) => string },
): string {
  const { completion, finish_reason: reason, error } = row
  const answer = error === undefined ? String(completion) : `no answer: ${String(error)}`
  const ending = ENDINGS[String(reason)]
  const lines = [answer.trimEnd(), ...(ending === undefined ? [] : [dim(ending)])]
  if (!alone) lines.unshift(dim(`> ${askedText(row).trim().replaceAll("\n", "\n> ")}`))
  return alone ? lines.join("\n") : `${lines.join("\n")}\n`
}
