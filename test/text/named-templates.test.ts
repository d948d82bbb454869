import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { expect, test } from "vitest"
import { copySideFiles } from "../../src/models/files/save.ts"
import { loadChatTemplate } from "../../src/text/index.ts"

const PLAIN = "plain {{ messages[0].content }}"
const TOOLS = "with {{ tools[0].name }}: {{ messages[0].content }}"
const list = (names: Readonly<Record<string, string>>) =>
  Object.entries(names).map(([name, template]) => ({ name, template }))

function folder(files: Readonly<Record<string, unknown>>): string {
  const path = mkdtempSync(join(tmpdir(), "dftune-templates-"))
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(path, name)), { recursive: true })
    writeFileSync(join(path, name), typeof content === "string" ? content : JSON.stringify(content))
  }
  return path
}

const messages = [{ role: "user", content: "q" }]
const tools = [{ name: "f" }]

/** Without tools, and with them. */
async function rendered(path: string): Promise<string[]> {
  const template = (await loadChatTemplate(path))!
  return [{}, { tools: null }, { tools }].map((options) => {
    try {
      return template.render(messages, options)
    } catch (error) {
      return `refused: ${(error as Error).message.replace(path, "")}`
    }
  })
}

const both = { default: PLAIN, tool_use: TOOLS }

test.each([
  ["a list", { "tokenizer_config.json": { chat_template: list(both) } }],
  ["a map", { "tokenizer_config.json": { chat_template: both } }],
  ["with others", { "tokenizer_config.json": { chat_template: list({ rag: "r", ...both }) } }],
  ["chat_template.json", { "chat_template.json": { chat_template: both } }],
  [
    "a folder of its own, before tokenizer_config.json",
    {
      "chat_template.jinja": PLAIN,
      "additional_chat_templates/tool_use.jinja": TOOLS,
      "tokenizer_config.json": { chat_template: "other" },
    },
  ],
])("the template for tools is taken where a chat has some: %s", async (_, files) => {
  expect(await rendered(folder(files))).toEqual(["plain q", "plain q", "with f: q"])
})

test("without one for tools the only one is taken, without a default chats without tools are refused", async () => {
  const one = folder({ "tokenizer_config.json": { chat_template: list({ default: PLAIN }) } })
  expect(await rendered(one)).toEqual(["plain q", "plain q", "plain q"])
  const other = folder({ "tokenizer_config.json": { chat_template: { tool_use: TOOLS } } })
  const [refused, , given] = await rendered(other)
  expect(given).toBe("with f: q")
  expect(refused).toMatch(
    /^refused: .*tokenizer_config\.json: .*none named "default".*data\.template/,
  )
})

test.each([
  [[], /expected "chat_template" to hold a template named "default" or "tool_use", got none/],
  [{ rag: "r" }, /got "rag"; give one with data\.template/],
  [7, /expected "chat_template" to be text, or templates by name, got 7/],
])("names that are not known are told: %j", async (value, message) => {
  const path = folder({ "tokenizer_config.json": { chat_template: value } })
  await expect(loadChatTemplate(path)).rejects.toThrow(message)
})

test("a trained model keeps the template for tools", async () => {
  const from = folder({
    "chat_template.jinja": PLAIN,
    "additional_chat_templates/tool_use.jinja": TOOLS,
  })
  const to = folder({})
  await copySideFiles(from, to)
  expect(await rendered(to)).toEqual(["plain q", "plain q", "with f: q"])
})
