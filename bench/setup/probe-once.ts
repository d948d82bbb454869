/** Probes a config in this process and prints its estimate as JSON: `probe.ts` runs it in turns. */
import { loadConfig } from "../../src/config/load-config.ts"
import { probe } from "../../src/train/probe.ts"
import { cpuClock } from "./cpu-clock.ts"

const [path, clock] = process.argv.slice(2)
const { estimate } = await probe(
  await loadConfig(path!),
  clock === "cpu" ? { clock: cpuClock } : {},
)
console.log(JSON.stringify(estimate))
