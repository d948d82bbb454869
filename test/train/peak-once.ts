/**
 * Trains a config in this process: what its plan says of memory, and what the process then held.
 */
import { loadConfig } from "../../src/config/load-config.ts"
import { peakMemory } from "../../src/host/peak-memory.ts"
import { fit } from "../../src/train/fit.ts"
import { planRun } from "../../src/train/plan.ts"
import { runHere } from "../../src/train/run.ts"

const config = await loadConfig(process.argv[2]!)
const { ways } = await fit(config, { timed: false })
const plan = await planRun(config)
for await (const _ of runHere(config));
const way = config.adapter === null ? "full" : config.quantization === "int4" ? "int4" : "lora"
console.log(
  JSON.stringify({
    planned: plan.memory.total,
    fit: ways.find(({ name }) => name === way)?.memory_bytes,
    peak: peakMemory(),
  }),
)
