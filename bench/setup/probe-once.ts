/** Probes a config in this process and prints its estimate as JSON: `probe.ts` runs it in turns. */
import { loadConfig } from "../../src/run/load-config.ts"
import { probe } from "../../src/train/probe.ts"

const { estimate } = await probe(await loadConfig(process.argv[2]!))
console.log(JSON.stringify(estimate))
