/**
 * HumanEval in two halves, and a model's own correct programs as rows.
 *
 *     node coder-humaneval.mjs split HumanEval.jsonl     writes train/ and test/, 82 problems each
 *     node coder-humaneval.mjs rows humaneval.jsonl      prints rows from an evaluation's records
 */
import { createHash } from "node:crypto"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"

const SEED = 1
const [what, file] = process.argv.slice(2)
const rows = readFileSync(file, "utf8").trim().split("\n").map(JSON.parse)

/** A place in an order that the seed and the id alone decide. */
const place = ({ task_id }) => createHash("sha256").update(`${SEED} ${task_id}`).digest("hex")

function split() {
  const shuffled = rows.toSorted((a, b) => (place(a) < place(b) ? -1 : 1))
  const half = Math.floor(rows.length / 2)
  const halves = { train: shuffled.slice(0, half), test: shuffled.slice(half) }
  for (const [name, part] of Object.entries(halves)) {
    mkdirSync(name, { recursive: true })
    writeFileSync(`${name}/HumanEval.jsonl`, part.map((row) => `${JSON.stringify(row)}\n`).join(""))
  }
}

/** Those that passed and ended by themselves: a row that is cut off would teach to stop there. */
function correctRows() {
  const kept = rows.filter(({ correct, finish_reason }) => correct && finish_reason === "stop")
  for (const { problem, completion } of kept) {
    const messages = [
      { role: "user", content: problem },
      { role: "assistant", content: completion },
    ]
    console.log(JSON.stringify({ messages }))
  }
  const problems = new Set(kept.map(({ id }) => id)).size
  const right = rows.filter(({ correct }) => correct).length
  console.error(
    `${rows.length} answers, ${right} right; kept ${kept.length} that ended, of ${problems} problems`,
  )
}

if (what === "split") split()
else correctRows()
