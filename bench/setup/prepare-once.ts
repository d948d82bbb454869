/** The process that ../prepare.ts measures: prepares one file, then reads it as training does. */
import { epochOrder, openPrepared, prepareData } from "../../src/data/index.ts"
import { peakMemory } from "../../src/host/peak-memory.ts"

export interface PrepareTask {
  readonly path: string
  readonly workers: number
  readonly tokenizer: string
  readonly template: string | null
  readonly cache: string
}

export interface PrepareReport {
  readonly rows: number
  readonly tokens: number
  /** What the lint counted. */
  readonly duplicates: number
  readonly seconds: number
  readonly cpuSeconds: number
  readonly peakBytes: number
  readonly reading: {
    readonly openSeconds: number
    readonly orderSeconds: number
    readonly rowsPerSecond: number
    /** Of the whole process, so no less than that of preparing. */
    readonly peakBytes: number
  }
}

const ROWS_READ = 20_000

const secondsSince = (start: number) => (performance.now() - start) / 1000

async function report({ path, workers, tokenizer, template, cache }: PrepareTask) {
  const start = performance.now()
  let shown = start
  const { dir, manifest, lints } = await prepareData({
    sources: [{ path, weight: 1 }],
    tokenizer,
    template,
    cache,
    workers,
    maxLength: 4096,
    onProgress: ({ rows, fraction }) => {
      if (secondsSince(shown) < 10) return
      shown = performance.now()
      console.error(`    ${(100 * fraction).toFixed(1)} %, ${rows.toLocaleString("en-US")} rows`)
    },
  })
  const seconds = secondsSince(start)
  const { user, system } = process.cpuUsage()
  const prepared = {
    rows: manifest.rows,
    tokens: manifest.tokens,
    duplicates: lints.find(({ code }) => code === "duplicate-rows")?.count ?? 0,
    seconds,
    cpuSeconds: (user + system) / 1e6,
    peakBytes: peakMemory(),
  }
  return { ...prepared, reading: await read(dir) } satisfies PrepareReport
}

/** Opens the folder, shuffles an epoch, and takes rows in that order. */
async function read(dir: string): Promise<PrepareReport["reading"]> {
  const opening = performance.now()
  const rows = await openPrepared(dir)
  const openSeconds = secondsSince(opening)
  const ordering = performance.now()
  const order = epochOrder({ manifest: rows.manifest, seed: 0, epoch: 0 })
  const orderSeconds = secondsSince(ordering)
  const reading = performance.now()
  const taken = order.subarray(0, ROWS_READ)
  let tokens = 0
  for (const row of taken) tokens += rows.row(row).tokenIds.length
  const rowsPerSecond = taken.length / secondsSince(reading)
  const expected = taken.reduce((sum, row) => sum + rows.lengths[row]!, 0)
  if (tokens !== expected) throw new Error(`${tokens} tokens read, ${expected} expected`)
  rows.close()
  return { openSeconds, orderSeconds, rowsPerSecond, peakBytes: peakMemory() }
}

process.send!(await report(JSON.parse(process.env.DFTUNE_BENCH!) as PrepareTask))
process.disconnect()
