import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { besideProject } from "./qwen-model.ts"

/** GSM8K's training rows, where ../shared is. */
export const GSM8K = besideProject("shared/data/sft/gsm8k_train/train.jsonl")

/** The first rows as chats (what trl_dft.py makes of them) in a file of `folder`. */
export function chats(folder: string, source: string, rows: number): string {
  const path = join(folder, "chats.jsonl")
  const text = readFileSync(source, "utf8").split("\n").slice(0, rows)
  const messages = text.map((line) => {
    const { question, answer } = JSON.parse(line)
    const turns = [
      { role: "user", content: question },
      { role: "assistant", content: answer },
    ]
    return JSON.stringify({ messages: turns })
  })
  writeFileSync(path, `${messages.join("\n")}\n`)
  return path
}
