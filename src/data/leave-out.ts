import type { DataFormat, LeaveOut, SourceConfig } from "../config/index.ts"
import { REASONING } from "../text/chat-template.ts"
import { benchmarkTexts } from "./benchmark-rows.ts"
import { HashSet } from "./hash-set.ts"
import { counted, type Lint, MAX_EXAMPLES } from "./lints.ts"
import { nearDuplicates } from "./near-duplicates.ts"
import { ngramHashes, wordsOf } from "./ngrams.ts"
import { parsedRows, rawValues } from "./read-batch.ts"
import type { Columns, Example, Purpose, Turns } from "./rows/index.ts"
import { resolveSources, type Source, sourceBatches } from "./sources.ts"

/** What is left out, and what is to be told of it. */
export interface LeftOut {
  /** Of each file of the sources, by its index: lines. */
  readonly lines: readonly ReadonlySet<number>[]
  readonly lints: readonly Lint[]
}

/** Whether anything is to be looked for. */
export const leavesOut = ({ near_duplicates, decontaminate }: LeaveOut): boolean =>
  near_duplicates !== null || decontaminate !== null

interface LeaveOutOptions {
  readonly purpose: Purpose
  readonly format: DataFormat
  readonly columns: Columns
  readonly implicitPrompt: boolean
  readonly signal?: AbortSignal | undefined
}

/**
 * Reads all rows once, for those that repeat an earlier row nearly word for word or share words
 * with a benchmark. Rows that cannot be read are passed over: preparing them says so.
 *
 * @throws InputError for a benchmark that cannot be read
 */
export async function rowsToLeaveOut(
  sources: readonly Source[],
  { near_duplicates: threshold, decontaminate, benchmarks }: LeaveOut,
  options: LeaveOutOptions,
): Promise<LeftOut> {
  const lines = sources.flatMap(({ files }) => files.map(() => new Set<number>()))
  const duplicates = threshold === null ? undefined : nearDuplicates(threshold)
  const known = decontaminate ? await benchmarkWords(benchmarks, decontaminate.ngram) : []
  const found = tally()
  const places: string[] = []
  for await (const { file, batch } of sourceBatches(sources)) {
    options.signal?.throwIfAborted()
    for (const row of parsedRows(batch, options)) {
      if (!("reading" in row) || row.reading.refusal !== undefined) continue
      const words = wordsOf(spokenText(row.reading.example))
      const place = `${batch.path}:${row.line}`
      const shared = known.find(({ shares }) => shares(words))
      if (shared) found.add(shared.name, place)
      if (shared && decontaminate?.remove) {
        lines[file]!.add(row.line)
        continue
      }
      if (duplicates === undefined) continue
      const first = duplicates.add(words)
      places.push(place)
      if (first === undefined) continue
      found.add("near-duplicate", `${place} (as ${places[first]})`)
      lines[file]!.add(row.line)
    }
  }
  return {
    lines,
    lints: [...duplicateLint(found, threshold), ...sharedLints(found, known, decontaminate)],
  }
}

function tally() {
  const all = new Map<string, { count: number; examples: string[] }>()
  return {
    get: (name: string) => all.get(name),
    add(name: string, example: string): void {
      const known = all.get(name) ?? { count: 0, examples: [] }
      known.count++
      if (known.examples.length < MAX_EXAMPLES) known.examples.push(example)
      all.set(name, known)
    },
  }
}

type Found = ReturnType<typeof tally>

const rowCount = (count: number) => counted(count, "row")

function duplicateLint(found: Found, threshold: number | null): Lint[] {
  const rows = found.get("near-duplicate")
  if (rows === undefined) return []
  return [
    {
      code: "near-duplicates",
      severity: "warning",
      message: `${rowCount(rows.count)} left out: ${threshold} or more of their words' runs of five are also an earlier row's (data.near_duplicates)`,
      hint: "raise data.near_duplicates, or take it out, if they should be trained",
      ...rows,
    },
  ]
}

function sharedLints(
  found: Found,
  known: readonly BenchmarkWords[],
  decontaminate: LeaveOut["decontaminate"],
): Lint[] {
  if (!decontaminate) return []
  const { ngram, remove } = decontaminate
  return known.flatMap(({ name }) => {
    const rows = found.get(name)
    if (rows === undefined) return []
    return [
      {
        code: "benchmark-overlap",
        severity: "warning",
        message: `${rowCount(rows.count)} ${remove ? "left out: they have" : "with"} ${ngram} words in a row that are also in ${name}`,
        hint: remove
          ? "raise data.decontaminate.ngram if they are no copies of it"
          : "data.decontaminate.remove: true leaves them out; scores there would measure memory",
        ...rows,
      } satisfies Lint,
    ]
  })
}

interface BenchmarkWords {
  /** As the user is told: which part of which file. */
  readonly name: string
  readonly shares: (words: readonly string[]) => boolean
}

const PARTS = ["question", "answer"] as const

async function benchmarkWords(
  benchmarks: readonly SourceConfig[],
  ngram: number,
): Promise<BenchmarkWords[]> {
  const all: BenchmarkWords[] = []
  for (const source of benchmarks) {
    const parts = { question: new HashSet(), answer: new HashSet() }
    for await (const { batch } of sourceBatches(await resolveSources([source])))
      for (const { line, value } of rawValues(batch)) {
        const texts = benchmarkTexts(value, `${batch.path}:${line}`)
        for (const part of PARTS) for (const text of texts[part]) addRuns(parts[part], text, ngram)
      }
    for (const part of PARTS) {
      const name = `${part === "answer" ? "an answer" : "a question"} of ${source.path}`
      all.push({ name, shares: (words) => sharesRun(parts[part], words, ngram) })
    }
  }
  return all
}

function addRuns(set: HashSet, text: string, ngram: number): void {
  const words = wordsOf(text)
  if (words.length < ngram) return
  const hashes = ngramHashes(words, ngram)
  for (let i = 0; i < hashes.length; i += 2) set.add(hashes[i]! | 0, hashes[i + 1]! | 0)
}

function sharesRun(set: HashSet, words: readonly string[], ngram: number): boolean {
  if (set.size === 0 || words.length < ngram) return false
  const hashes = ngramHashes(words, ngram)
  for (let i = 0; i < hashes.length; i += 2)
    if (set.has(hashes[i]! | 0, hashes[i + 1]! | 0)) return true
  return false
}

/** Everything that a row says, without what a template writes around it. */
function spokenText(example: Example): string {
  switch (example.kind) {
    case "text":
      return example.text
    case "chat":
      return saidIn(example.messages)
    case "completion":
      return `${saidIn(example.prompt)}\n${saidIn(example.completion)}`
    case "preference":
      return [example.prompt, example.chosen, example.rejected].map(saidIn).join("\n")
  }
}

const saidIn = (turns: Turns): string =>
  typeof turns === "string"
    ? turns
    : turns
        .filter(({ role }) => role !== "system")
        .flatMap(({ content, ...turn }) => [content, ...REASONING.map((key) => turn[key])])
        .filter((text) => typeof text === "string")
        .join("\n")
