/**
 * A copy of SmolLM2-135M-Instruct in which an answer ends with another token than the model ends its own with.
 *
 *     node stop.mjs MODEL COPY
 */
import { cpSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"

const END = "<|endoftext|>"
const [model, copy] = process.argv.slice(2)
const read = (name) => JSON.parse(readFileSync(join(model, name), "utf8"))
const { id } = read("tokenizer.json").added_tokens.find(({ content }) => content === END)

cpSync(model, copy, { recursive: true, dereference: true })
const edited = {
  "config.json": { eos_token_id: id },
  "generation_config.json": { eos_token_id: id },
  "tokenizer_config.json": { eos_token: END },
}
for (const [name, fields] of Object.entries(edited)) {
  writeFileSync(join(copy, name), JSON.stringify({ ...read(name), ...fields }))
}
