/**
 * A copy of SmolLM2-135M-Instruct in which an answer ends with a token that the model never wrote.
 *
 *     node stop.mjs MODEL COPY
 *
 * Weights are linked where the disk can. Only what ends an answer differs: `<file_sep>`.
 */
import { copyFileSync, linkSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"

const END = "<file_sep>"
const [model, copy] = process.argv.slice(2)
mkdirSync(copy, { recursive: true })
for (const name of readdirSync(model)) {
  if (name === "chat_template.jinja") continue
  try {
    if (!name.endsWith(".safetensors")) throw new Error("edited below")
    linkSync(join(model, name), join(copy, name))
  } catch {
    copyFileSync(join(model, name), join(copy, name))
  }
}
const { added_tokens } = JSON.parse(readFileSync(join(copy, "tokenizer.json"), "utf8"))
const { id } = added_tokens.find(({ content }) => content === END)
const edited = {
  "config.json": { eos_token_id: id },
  "generation_config.json": { eos_token_id: id },
  "tokenizer_config.json": { eos_token: END },
}
for (const [name, fields] of Object.entries(edited)) {
  const path = join(copy, name)
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), ...fields }))
}
