/**
 * Attempts to break dftune: kills, full disks, mutants of every format, a hostile hub and endpoint.
 *
 *     npm run torture -- --seed 7 --minutes 30
 *     npm run torture -- --only kills --count 200
 *     npm run torture -- --only mutants --kinds arrow,gguf --count 10000
 *
 * Everything is drawn from the seed (the day's number without one). Ends with 1 when something failed, and says what repeats it.
 */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { fullDisks } from "./full-disks.ts"
import { hostileServers } from "./hostile-servers.ts"
import { kills } from "./kills.ts"
import { mutants } from "./mutants.ts"
import type { Trial } from "./trial.ts"

/** Each with its share of the time and how many are tried when there is enough of it. */
const TRIALS: Readonly<Record<string, { trial: Trial; share: number; count: number }>> = {
  servers: { trial: hostileServers, share: 0.1, count: 40 },
  disks: { trial: fullDisks, share: 0.15, count: 40 },
  mutants: { trial: mutants, share: 0.45, count: 10_000 },
  kills: { trial: kills, share: 0.3, count: 200 },
}

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    minutes: { type: "string", default: "10" },
    only: { type: "string" },
    count: { type: "string" },
    kinds: { type: "string" },
  },
})
/** Another one every day, and the same for all who look into the same failure. */
const seed = Number(values.seed ?? Math.floor(Date.now() / 86_400_000))
const minutes = Number(values.minutes)
const names = values.only?.split(",") ?? Object.keys(TRIALS)
const unknown = names.find((name) => !(name in TRIALS))
if (unknown !== undefined || !Number.isSafeInteger(seed) || !(minutes > 0)) {
  console.error(`torture: --only ${Object.keys(TRIALS).join(",")}; --seed N; --minutes M`)
  process.exit(2)
}

const shares = names.reduce((sum, name) => sum + TRIALS[name]!.share, 0)
const root = mkdtempSync(join(tmpdir(), "dftune-torture-"))
console.log(`seed ${seed}`)
const say = (line: string) => console.error(line)
let failed = 0
for (const name of names) {
  const { trial, share, count } = TRIALS[name]!
  const folder = join(root, name)
  mkdirSync(folder)
  const began = Date.now()
  const until = began + (minutes * 60_000 * share) / shares
  const asked = values.count === undefined ? count : Number(values.count)
  const kinds = values.kinds?.split(",")
  const { tried, figures, failures } = await trial({
    seed,
    count: asked,
    until,
    folder,
    say,
    kinds,
  })
  failed += failures.length
  const seconds = ((Date.now() - began) / 1000).toFixed(0)
  const shown = Object.entries(figures).map(([key, value]) => `${key} ${value}`)
  console.log(
    `${name}: ${tried} tried in ${seconds} s, ${failures.length} failed; ${shown.join(", ")}`,
  )
  for (const failure of failures.slice(0, 50)) console.log(`  ${failure}`)
}
rmSync(root, { recursive: true, force: true })
process.exit(failed === 0 ? 0 : 1)
