import { isObject } from "../formats/json.ts"
import { batchSetup, type PrepareOptions } from "./prepare.ts"
import { rawValues } from "./read-batch.ts"
import type { PlainTexts } from "./render.ts"
import { rowReading } from "./rows/index.ts"
import { resolveSources, sourceBatches } from "./sources.ts"

/**
 * Why dftune makes other tokens or masks of some rows than 0.1.0 did, by their places: the faults
 * of that version that each row meets.
 */
export async function mendedFaults(
  options: PrepareOptions,
  places: readonly string[],
): Promise<string[]> {
  const wanted = new Set(places)
  const { purpose, format, columns, implicitPrompt, plainTexts } = batchSetup(options)
  const faults = new Set<string>()
  for await (const { batch } of sourceBatches(await resolveSources(options.sources))) {
    for (const { line, value } of rawValues(batch)) {
      const where = `${batch.path}:${line}`
      if (!wanted.delete(where)) continue
      const reading = rowReading(value, { purpose, format, columns, implicitPrompt, where })
      for (const fault of faultsOf(value, reading, plainTexts)) faults.add(fault)
    }
    if (wanted.size === 0) break
  }
  return [...faults]
}

function faultsOf(
  value: unknown,
  { example, refusal }: ReturnType<typeof rowReading>,
  plainTexts: PlainTexts,
): string[] {
  const row = isObject(value) ? value : {}
  const found: string[] = []
  if (refusal !== undefined)
    found.push(`a row that says it is not to be trained (${refusal}) was trained`)
  if ("context" in example) found.push("messages that say they are not to be trained were trained")
  if ("question" in example && plainTexts === "auto")
    found.push(
      "questions did not go through the chat template (data.template: none keeps them as they were)",
    )
  const unread = ["system", "system_prompt", "history", "context"].filter((key) => row[key])
  if (unread.length > 0) found.push(`${unread.join(" and ")} of a row was not read`)
  const text = JSON.stringify(row)
  if (/"(tools|functions|tool_calls|function_call)"/.test(text))
    found.push("tools and tool calls were not written in the form that the template reads")
  if ("sampled" in example)
    found.push(
      "samples were not trained by their own tokens, or with an end that was never sampled",
    )
  return found.length > 0 ? found : ["the chat template was not run as Jinja2 runs it"]
}
