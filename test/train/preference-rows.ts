import { writeFileSync } from "node:fs"
import { join } from "node:path"

/**
 * Sums with a right and a wrong answer, as pairs, answers to imitate, labelled ones and ones with
 * rewards.
 */
export function preferenceRows(folder: string): void {
  const sums = Array.from({ length: 24 }, (_, i) => {
    const [a, b] = [(7 * i) % 50, (13 * i + 5) % 50]
    return { prompt: `what is ${a} + ${b}? `, right: `${a + b}.`, wrong: `i think ${a * b + 1}` }
  })
  const write = (name: string, rows: readonly object[]) =>
    writeFileSync(
      join(folder, `${name}.jsonl`),
      rows.map((row) => `${JSON.stringify(row)}\n`).join(""),
    )
  write(
    "pairs",
    sums.map(({ prompt, right, wrong }) => ({ prompt, chosen: right, rejected: wrong })),
  )
  write(
    "labels",
    sums.map(({ prompt, right, wrong }, i) => ({
      prompt,
      completion: i % 2 ? wrong : right,
      label: i % 2 === 0,
    })),
  )
  write(
    "sft",
    sums.map(({ prompt, right }) => ({ prompt, completion: right })),
  )
  write(
    "rewards",
    sums.slice(0, 8).flatMap(({ prompt, right, wrong }) => [
      { prompt, completion: right, reward: 1 },
      { prompt, completion: wrong, reward: 0.25 },
    ]),
  )
}
