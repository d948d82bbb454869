/**
 * What opening a model for generating takes in memory: the peak above what the process held before,
 * over the bytes of its weights in that precision; each a process of its own, in turns.
 *
 *     npm run bench -- open [--model FOLDER] [--rounds 2]
 *
 * Without a model folder it is one of Qwen2.5-0.5B's shape, where ../shared and Python are there.
 */
import { parseArgs } from "node:util"
import { scriptLines } from "./setup/output-lines.ts"
import { qwenModel } from "./setup/qwen-model.ts"

const DTYPES = ["fp32", "bf16"] as const

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: { model: { type: "string" }, rounds: { type: "string", default: "2" } },
  })
  const folder = values.model ?? qwenModel()
  if (folder === undefined) {
    console.log("absent: --model FOLDER, or ../shared and Python; nothing measured")
    return
  }
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const dtype of DTYPES) {
      const lines = await scriptLines("open-once.ts", [folder, dtype])
      const { peak_bytes, weight_bytes } = JSON.parse(lines.find((line) => line.startsWith("{"))!)
      const ratio = (peak_bytes / weight_bytes).toFixed(3)
      console.log(`${dtype}: ${(peak_bytes / 1e9).toFixed(2)} GB, ${ratio} of the weights`)
    }
  }
}
