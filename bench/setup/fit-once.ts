/** Says in this process what a config's model would take, as JSON: `plan.ts` runs it in turns. */
import { loadConfig } from "../../src/config/load-config.ts"
import { fit } from "../../src/train/fit.ts"
import { cpuClock } from "./cpu-clock.ts"

const [path, clock] = process.argv.slice(2)
const config = await loadConfig(path!)
console.log(JSON.stringify(await fit(config, clock === "cpu" ? { clock: cpuClock } : {})))
