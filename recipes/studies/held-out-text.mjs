/**
 * Rows of text that no recipe trains on: how dftune's own pages begin, or how its Python files do.
 *
 *     node held-out-text.mjs COUNT [code] > rows.jsonl
 */
import { readdirSync, readFileSync } from "node:fs"

const CHARACTERS = 600
const [count, what = "text"] = process.argv.slice(2)
const [folder, ending] = what === "code" ? ["worker/dftune_worker/", ".py"] : ["docs/", ".md"]
const place = new URL(`../../${folder}`, import.meta.url)
const files = readdirSync(place)
  .filter((name) => name.endsWith(ending))
  .sort()
const texts = files.map((name) => readFileSync(new URL(name, place), "utf8"))
const long = texts.filter((text) => text.length >= CHARACTERS)
for (const text of long.slice(0, Number(count)))
  console.log(JSON.stringify({ text: text.slice(0, CHARACTERS) }))
