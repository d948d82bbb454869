import type { SourceConfig } from "../config/index.ts"
import { benchmarkTexts } from "./benchmark-rows.ts"
import { hashOf } from "./hash.ts"
import { HashSet, hashHalves } from "./hash-set.ts"
import { type Lint, MAX_EXAMPLES, overlapLint } from "./lints.ts"
import { openPrepared } from "./prepared.ts"
import { rawValues } from "./read-batch.ts"
import { comparable } from "./render.ts"
import { promptHashes } from "./row-hashes.ts"
import { resolveSources, sourceBatches } from "./sources.ts"

interface OverlapOptions {
  /** Prepared folder of the training rows. */
  readonly train: string
  /** Prepared folders of eval rows. */
  readonly evals: readonly string[]
  /** Files of benchmark questions; of their keys only the question is looked at. */
  readonly benchmarks?: readonly SourceConfig[]
}

/**
 * Training rows whose question (letter case and white space aside) is also in an eval set or a
 * benchmark: scores there would measure memory.
 */
export async function overlapLints({
  train,
  evals,
  benchmarks = [],
}: OverlapOptions): Promise<Lint[]> {
  const rows = await promptHashes(train)
  const lints: Lint[] = []
  if (evals.length > 0) {
    const asked = new HashSet()
    for (const dir of evals) addAll(asked, await promptHashes(dir))
    lints.push(...overlapLint("eval", "the eval rows", await sharedRows(train, rows, asked)))
  }
  for (const source of benchmarks) {
    const asked = await questionHashes(source)
    lints.push(...overlapLint("benchmark", source.path, await sharedRows(train, rows, asked)))
  }
  return lints
}

function addAll(asked: HashSet, hashes: BigInt64Array): void {
  const halves = hashHalves(hashes)
  for (let i = 0; i < halves.length; i += 2) asked.add(halves[i]!, halves[i + 1]!)
}

async function sharedRows(train: string, rows: BigInt64Array, asked: HashSet) {
  const halves = hashHalves(rows)
  const found: number[] = []
  let count = 0
  for (let row = 0; row < rows.length; row++) {
    if (!asked.has(halves[2 * row]!, halves[2 * row + 1]!)) continue
    count++
    if (found.length < MAX_EXAMPLES) found.push(row)
  }
  const prepared = await openPrepared(train)
  try {
    return { count, examples: found.map((row) => prepared.place(row)) }
  } finally {
    prepared.close()
  }
}

async function questionHashes(source: SourceConfig): Promise<HashSet> {
  const asked = new HashSet()
  for await (const { batch } of sourceBatches(await resolveSources([source]))) {
    for (const { line, value } of rawValues(batch)) {
      const { question } = benchmarkTexts(value, `${batch.path}:${line}`)
      addAll(
        asked,
        BigInt64Array.from(question, (text) => hashOf(comparable(text))),
      )
    }
  }
  return asked
}
