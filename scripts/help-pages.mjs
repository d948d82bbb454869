/**
 * Writes what `dftune VERB --help` says beside the built main.js
 * (src/commands/shell/help-pages.ts).
 */
import { readdirSync, writeFileSync } from "node:fs"
import { Command } from "commander"
import { helpPage } from "../dist/commands/shell/help-pages.js"

const folder = new URL("../dist/commands/", import.meta.url)
const pages = {}
for (const file of readdirSync(folder).filter((name) => /^[a-z-]+\.js$/.test(name))) {
  if (file === "main.js") continue
  const { command } = await import(new URL(file, folder).href)
  if (command === undefined) continue
  const name = file.replace(/\.js$/, "")
  const verb = new Command("dftune").command(name)
  command(verb)
  pages[name] = helpPage(verb)
}
writeFileSync(new URL("help-pages.json", folder), `${JSON.stringify(pages)}\n`)
