import { cpSync, mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const GOLDEN = fileURLToPath(new URL("../../golden/models/", import.meta.url))
const CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789 .,+-*/=?!:\n#"

/** A tokenizer of single characters: 64 ids, 0 unknown, 1 BOS, 2 EOS. */
function characterTokenizer() {
  const vocab: Record<string, number> = { "<unk>": 0, "<s>": 1, "</s>": 2 }
  for (const character of CHARACTERS) vocab[character] = Object.keys(vocab).length
  for (let id = Object.keys(vocab).length; id < 64; id++) vocab[`<unused${id}>`] = id
  const special = (id: number, content: string) => {
    const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false }
    return { id, content, ...plain, special: true }
  }
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: { type: "Fuse" },
    model: { type: "BPE", dropout: null, unk_token: "<unk>", fuse_unk: false, vocab, merges: [] },
  }
}

/** A tiny golden model with a tokenizer beside it, in a folder of its own. */
export function tinyModel(folder: string, family = "llama"): string {
  const path = join(folder, "model-start")
  mkdirSync(path, { recursive: true })
  for (const file of ["config.json", "model.safetensors"]) {
    cpSync(join(GOLDEN, family, file), join(path, file))
  }
  writeFileSync(join(path, "tokenizer.json"), JSON.stringify(characterTokenizer()))
  const settings = { bos_token: "<s>", eos_token: "</s>", unk_token: "<unk>" }
  writeFileSync(join(path, "tokenizer_config.json"), JSON.stringify(settings))
  return path
}

/** Sums as prompts and completions, one a line. */
export function sumRows(folder: string, count: number): string {
  const path = join(folder, "sums.jsonl")
  const rows = Array.from({ length: count }, (_, i) => {
    const [a, b] = [(7 * i) % 50, (13 * i + 5) % 50]
    return JSON.stringify({
      prompt: `what is ${a} + ${b}? `,
      completion: `${a} + ${b} = ${a + b}.`,
    })
  })
  writeFileSync(path, `${rows.join("\n")}\n`)
  return path
}
