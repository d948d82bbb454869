import { createHash } from "node:crypto"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { describe, expect, test } from "vitest"
import { InputError } from "../../src/errors.ts"
import { parseExactJson } from "../../src/formats/exact-json.ts"
import { type ChatMessage, type ChatTemplate, chatTemplate } from "../../src/text/index.ts"

/** Folders of .jinja files; those that golden/text/real_templates.py has rendered are tried. */
const FOLDERS = [
  fileURLToPath(new URL("../../../shared/data/chat_templates/", import.meta.url)),
  ...(process.env.CHAT_TEMPLATES ?? "").split(":").filter(Boolean),
]

interface Chat {
  readonly name: string
  readonly messages: readonly ChatMessage[]
  readonly tools?: number
  readonly add_generation_prompt?: boolean
}
interface Golden {
  readonly variables: Record<string, string>
  readonly tools: readonly unknown[]
  readonly clock: string
  /**
   * By a template's SHA-256, for each chat the hash of what Transformers renders; null: it raises.
   */
  readonly templates: Readonly<Record<string, readonly (string | null)[]>>
}
const read = (name: string) =>
  parseExactJson(readFileSync(new URL(`../../golden/text/${name}`, import.meta.url), "utf8"))
const golden = read("real_templates.json") as Golden
const chats = read("chats.json") as Chat[]
const now = new Date(golden.clock)

const sha256 = (data: string | Uint8Array) => createHash("sha256").update(data).digest("hex")

const found = FOLDERS.filter((folder) => existsSync(folder)).flatMap((folder) =>
  readdirSync(folder)
    .filter((name) => name.endsWith(".jinja"))
    .map((name) => ({ name, path: join(folder, name) }))
    .map(({ name, path }) => ({
      name,
      path,
      expected: golden.templates[sha256(readFileSync(path))],
    })),
)
const known = found.filter(({ expected }) => expected !== undefined)
if (known.length === 0) {
  console.log("absent: ../shared/data/chat_templates and CHAT_TEMPLATES; real templates not tried")
}

function optionsOf({ tools, add_generation_prompt: addGenerationPrompt = false }: Chat) {
  return {
    addGenerationPrompt,
    now,
    variables: { date_string: golden.variables.date_string },
    ...(tools === undefined ? {} : { tools: golden.tools[tools] }),
  }
}

const digest = (json: string) => sha256(json).slice(0, 16)

/** What generation blocks cover, in code points, as Python's `json.dumps` writes it. */
function covered({ text, spans }: ReturnType<ChatTemplate["renderWithSpans"]>): string {
  const ranges: [number, number][] = []
  const cover = (start: number, end: number) => {
    const last = ranges.at(-1)
    if (start === end) return
    if (last !== undefined && last[1] >= start) last[1] = end
    else ranges.push([start, end])
  }
  for (const { start, turnEnd, gaps = [] } of spans) {
    let from = start
    for (const [gapStart, gapEnd] of gaps) {
      cover(from, gapStart)
      from = gapEnd
    }
    cover(from, turnEnd)
  }
  const at = (units: number) => [...text.slice(0, units)].length
  return `[${ranges.map(([start, end]) => `[${at(start)}, ${at(end)}]`).join(", ")}]`
}

function outcome(template: ChatTemplate, chat: Chat): string | null {
  const options = optionsOf(chat)
  const text = template.render(chat.messages, options)
  if (!template.source.includes("endgeneration")) return digest(JSON.stringify(text))
  const spans = template.renderWithSpans(chat.messages, options)
  return `${digest(JSON.stringify(text))}:${digest(covered(spans))}`
}

describe.skipIf(known.length === 0)("real templates render as under Transformers", () => {
  test.each(known)("$name", ({ path, expected }) => {
    const template = chatTemplate({
      path,
      source: readFileSync(path, "utf8"),
      tokens: golden.variables,
      specialTokens: [],
    })
    const outcomes = chats.map((chat) => {
      try {
        return outcome(template, chat)
      } catch (error) {
        expect(error).toBeInstanceOf(InputError)
        return null
      }
    })
    expect(outcomes).toEqual(expected)
  })
})
