/**
 * Trains a config in this process and prints a line of JSON for each step and evaluation, then the peak
 * memory: `trl.ts` runs it in turns. CPU seconds and memory are this process's: nothing of the torch
 * engine's.
 */
import { rmSync } from "node:fs"
import { loadConfig } from "../../src/config/load-config.ts"
import { trainWithTorch } from "../../src/engines/torch/torch-run.ts"
import { peakMemory } from "../../src/host/peak-memory.ts"
import { runHere } from "../../src/train/run.ts"
import { cpuClock } from "./cpu-clock.ts"

const config = await loadConfig(process.argv[2]!)
rmSync(config.output_dir, { recursive: true, force: true })
const began = performance.now()
const cpuBegan = cpuClock()
let cpuStep = cpuBegan
const events = config.engine.name === "torch" ? trainWithTorch(config) : runHere(config)
let before = { tokens: 0, supervised: 0 }
for await (const event of events) {
  if (event.type === "eval") console.log(JSON.stringify({ eval: event.name, nll: event.nll }))
  if (event.type !== "step") continue
  const { tokens, supervised_tokens: supervised, tokens_per_second: rate, loss, nll } = event
  const real = tokens - before.tokens
  console.log(
    JSON.stringify({
      step: event.step,
      real,
      supervised: supervised - before.supervised,
      seconds: real / rate,
      cpu_seconds: cpuClock() - cpuStep,
      loss,
      nll,
    }),
  )
  before = { tokens, supervised }
  cpuStep = cpuClock()
}
const seconds = (performance.now() - began) / 1000
const cpu_seconds = cpuClock() - cpuBegan
const peak_gb = peakMemory() / 1e9
console.log(JSON.stringify({ peak_gb, seconds, cpu_seconds }))
rmSync(config.output_dir, { recursive: true, force: true })
