/** Opens a model folder for generating and prints as JSON what it held above the process: `open.ts` runs it in turns. */
import { openModel } from "../../src/generate/index.ts"
import { peakMemory } from "../../src/host/peak-memory.ts"
import { decoderParameters, elementCount } from "../../src/models/index.ts"

const [folder, dtype] = process.argv.slice(2)
const before = process.memoryUsage().rss
const model = await openModel(folder!, { threads: 1, dtype: dtype as "bf16" | "fp32" })
const numbers = decoderParameters(model.model.shape).reduce(
  (sum, { shape }) => sum + elementCount(shape),
  0,
)
const weight_bytes = numbers * (dtype === "bf16" ? 2 : 4)
console.log(JSON.stringify({ before, peak_bytes: peakMemory() - before, weight_bytes }))
await model.release()
