import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { besideProject } from "./qwen-model.ts"

/** GSM8K's training rows, where ../shared is. */
export const GSM8K = besideProject("shared/data/sft/gsm8k_train/train.jsonl")

/**
 * The first rows as chats (what trl_dft.py makes of them) in a file of `folder`: of those whose
 * question and answer have at most so many characters, behind the first `passedOver`.
 */
export function chats(
  folder: string,
  source: string,
  rows: number,
  mostCharacters = Number.POSITIVE_INFINITY,
  passedOver = 0,
): string {
  const path = join(folder, passedOver ? `chats-${passedOver}.jsonl` : "chats.jsonl")
  const text = readFileSync(source, "utf8").trim().split("\n")
  const all = text.map((line) => JSON.parse(line) as { question: string; answer: string })
  const short = all.filter((row) => row.question.length + row.answer.length <= mostCharacters)
  const messages = short.slice(passedOver, passedOver + rows).map(({ question, answer }) => {
    const turns = [
      { role: "user", content: question },
      { role: "assistant", content: answer },
    ]
    return JSON.stringify({ messages: turns })
  })
  writeFileSync(path, `${messages.join("\n")}\n`)
  return path
}
