import { writeFileSync } from "node:fs"
import { openDevice } from "../src/runtime/node.ts"
import { CASES, trainingGraphs } from "../test/train/recorded-graphs.ts"

/**
 * Writes the SHA-256 of every training graph's ONNX bytes, so that a move of code can be shown to
 * change none: `npx tsx golden/training-graphs.ts`. To be made anew only where a graph is meant to change.
 */
const device = await openDevice({ device: "cpu", threads: 1 })
const made: Record<string, unknown> = {}
for (const [family, kind] of CASES) {
  made[`${family}: ${kind}`] = await trainingGraphs(device, family, kind)
}
const path = new URL("training-graphs.json", import.meta.url)
writeFileSync(path, `${JSON.stringify(made, null, 2)}\n`)
await device.release()
