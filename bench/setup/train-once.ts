/** Trains a config in this process and prints a line of JSON a step, then the peak memory: `trl.ts` runs it in turns. */
import { rmSync } from "node:fs"
import { loadConfig } from "../../src/run/load-config.ts"
import { runHere } from "../../src/train/run.ts"

const config = await loadConfig(process.argv[2]!)
rmSync(config.output_dir, { recursive: true, force: true })
const began = performance.now()
const events = runHere(config)
let before = { tokens: 0, supervised: 0 }
for (;;) {
  const next = await events.next()
  if (next.done) break
  const event = next.value
  if (event.type !== "step") continue
  const { tokens, supervised_tokens: supervised, tokens_per_second: rate, loss, nll } = event
  const real = tokens - before.tokens
  console.log(
    JSON.stringify({
      step: event.step,
      real,
      supervised: supervised - before.supervised,
      seconds: real / rate,
      loss,
      nll,
    }),
  )
  before = { tokens, supervised }
}
const seconds = (performance.now() - began) / 1000
console.log(JSON.stringify({ peak_gb: (process.resourceUsage().maxRSS * 1024) / 1e9, seconds }))
rmSync(config.output_dir, { recursive: true, force: true })
