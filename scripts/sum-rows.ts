/** Rows of the demo's sums as a user's files would have them, for transcripts and tests. */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { answerOf, calcPrompt, problem, solution, wordPrompt } from "../src/demo/problems.ts"
import { randomStream } from "../src/random.ts"

export const DEMO_MODEL = fileURLToPath(new URL("../demo/model", import.meta.url))

const RANGE = { minSteps: 1, maxSteps: 2, maxOperand: 20, maxValue: 99 }
const lines = (rows: readonly unknown[]) => `${rows.map((row) => JSON.stringify(row)).join("\n")}\n`
const user = (content: string) => ({ role: "user", content })

/** Writes train.jsonl, `count` chats, and questions.jsonl, four of its problems with answers. */
export function writeSumRows(folder: string, count: number): void {
  const random = randomStream(0, "walk")
  const tasks = Array.from({ length: count }, () => problem(random, RANGE))
  const chats = tasks.map((task) => ({
    messages: [
      user(wordPrompt(random, task)),
      { role: "assistant", content: solution(random, task, { style: "verbose" }) },
    ],
  }))
  writeFileSync(join(folder, "train.jsonl"), lines(chats))
  const questions = tasks.slice(0, 4).map((task) => ({
    prompt: [user(calcPrompt(task))],
    answer: String(answerOf(task)),
  }))
  writeFileSync(join(folder, "questions.jsonl"), lines(questions))
}
