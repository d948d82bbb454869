/** Tools that a sample calls, read as the model's own template writes them. */
import type { DataPrompt } from "../../data/prompts.ts"
import { isObject } from "../../formats/json.ts"
import type { Sample } from "../../generate/sample-source.ts"
import { callForm } from "../../text/call-form.ts"
import { calledTools, spokenTokens, type Tools } from "../../text/called-tools.ts"
import type { ChatTemplate, Tokenizer } from "../../text/index.ts"

/** A call as an environment gets it. */
export interface EnvironmentCall {
  /** Nine characters, as some templates want them; the same in a run that is made again. */
  readonly id: string
  readonly name: string
  readonly arguments: unknown
}

export interface Heard {
  /** What is said beside the calls; without calls, the completion. */
  readonly content: string
  /** null where the template writes no calls in a form that is understood. */
  readonly calls: readonly EnvironmentCall[] | null
}

export type CallReader = (sample: Sample, prompt: DataPrompt) => Heard

export function callReader({
  template,
  tokenizer,
  stopIds,
}: {
  readonly template: ChatTemplate | null
  readonly tokenizer: Tokenizer
  readonly stopIds: ReadonlySet<number>
}): CallReader {
  const form = template && callForm(template)
  if (!form) return ({ completion }) => ({ content: completion, calls: null })
  const isSpoken = spokenTokens(form, tokenizer, stopIds)
  return ({ tokenIds, completion }, { asked }) => {
    const tools = typeof asked === "string" ? undefined : asked.tools
    const known = toolsByName(tools)
    if (known.size === 0) return { content: completion, calls: [] }
    const stream = tokenizer.decodeStream()
    const spoken = tokenIds.filter(isSpoken).map((id) => stream.push(id))
    const said = calledTools(spoken.join("") + stream.end(), form, known)
    const calls = said.calls.map(({ name, arguments: given }, i) => {
      return { id: `call${String(i).padStart(5, "0")}`, name, arguments: JSON.parse(given) }
    })
    const beside = [said.content, said.after].filter((text) => text !== "").join("\n")
    return { content: calls.length === 0 ? completion : beside, calls }
  }
}

/** A row's tools, each the schema of a function, or what says so. */
function toolsByName(tools: unknown): Tools {
  const list = Array.isArray(tools) ? tools : []
  return new Map(
    list.flatMap((tool: unknown) => {
      const schema = isObject(tool) && isObject(tool.function) ? tool.function : tool
      if (!isObject(schema) || typeof schema.name !== "string") return []
      const { name, parameters } = schema
      const properties = isObject(parameters) ? parameters.properties : undefined
      return [[name, isObject(properties) ? { properties } : {}] as const]
    }),
  )
}
