import { join } from "node:path"
import type { LayoutParts } from "../data/render.ts"
import { rowsOf } from "../data/row-objects.ts"
import { assert, InputError } from "../errors.ts"
import { makeFolder, replaceFile } from "../formats/atomic.ts"
import type { JsonObject } from "../formats/json.ts"
import { generate } from "../generate/generate.ts"
import { openSampleFile, sampleRow } from "../generate/sample-file.ts"
import { type SampleOrigin, samplingRecord } from "../generate/sample-origin.ts"
import type { SampleSource } from "../generate/sample-source.ts"
import { GRADER_VERSION, type Mode, type Verdict } from "../grading/grader/verdict.ts"
import { checkOutputFile, checkOutputFolder, isPage } from "../host/output-place.ts"
import type { ScoredModel } from "../train/scored-model.ts"
import { judgeChoices } from "./choices.ts"
import { JUDGES, type JudgeName } from "./judges/index.ts"
import { type PromptStyle, promptIn } from "./prompts.ts"
import { checkRecordsFile, type EvaluationRecord, recordsPath } from "./records.ts"
import {
  averageAtN,
  bootstrapInterval,
  type Interval,
  majorityCorrect,
  meanPassAtK,
  paperScore,
} from "./statistics.ts"
import type { Problem } from "./suites/suite.ts"

export interface EvaluationSettings {
  readonly n: number
  readonly temperature: number
  readonly topP?: number
  readonly topK?: number
  readonly minP?: number
  readonly repetitionPenalty?: number
  readonly maxNewTokens: number
  readonly seed: number
  readonly prompt: PromptStyle
  readonly mode: Mode
  readonly stop: readonly string[]
}

export interface EvaluateOptions {
  /** Opened only when samples are missing. */
  readonly openSource: () => Promise<{ source: SampleSource; release: () => Promise<void> }>
  /** Named in the records. */
  readonly model: string
  /** What the model is: samples of another one are refused, whatever its name. */
  readonly origin?: SampleOrigin
  readonly suite: string
  readonly problems: readonly Problem[]
  /** math when left out. */
  readonly judge?: JudgeName
  /** For choices, which are not sampled; a server has none. */
  readonly openScored?: () => Promise<ScoredModel>
  readonly settings: EvaluationSettings
  /**
   * How the model's rows were laid out, for `prompt: auto`; a question as a user's turn without.
   */
  readonly layout?: LayoutParts
  /** Gets `SUITE.samples.jsonl` (grows, can be continued) and `SUITE.jsonl` (graded). */
  readonly folder: string
  readonly signal?: AbortSignal
  /** Samples; and tokens said so far, between two of them. */
  readonly onProgress?: (done: number, wanted: number, tokens?: number) => void
  /** While answers are graded: programs take a second each. */
  readonly onGraded?: (done: number, wanted: number) => void
  readonly onNotice?: (message: string) => void
}

export interface SuiteResult {
  readonly suite: string
  readonly model: string
  readonly problems: number
  readonly n: number
  /** avg@n, 0 to 1. */
  readonly score: number
  /** 95 %, by problem-level bootstrap. */
  readonly ci95: Interval
  readonly strict: number
  readonly lenient: number
  readonly pass_at: Readonly<Record<string, number>>
  readonly majority: number
  /** Percent, from columns rounded to one decimal. */
  readonly paper_score: number
  readonly undecided: number
  readonly no_answer: number
  /** Samples without a completion (prompt too long, refused by the server); they count as wrong. */
  readonly without_completion: number
  /** Why the first of them has none. */
  readonly first_error?: string
  readonly finish_reasons: Readonly<Record<string, number>>
  /** Mean tokens of a completion; null where the endpoint names none. */
  readonly mean_tokens: number | null
  readonly mean_characters: number
  /** Of this call's sampling; null when all samples were there already. */
  readonly tokens_per_second: number | null
  readonly mode: Mode
  /** What a local model computed in, never auto; a server does not say. */
  readonly dtype?: string
  readonly grader_version: string
  /** As records name them: `max_new_tokens`, `top_p`, ... */
  readonly settings: JsonObject
}

/**
 * Samples a suite, grades every sample, and sums up. Interrupted calls go on where they stopped;
 * the same seed gives the same samples.
 */
export async function evaluateSuite(options: EvaluateOptions): Promise<SuiteResult> {
  makeFolder(options.folder)
  if (options.judge === "choices") return evaluateChoices(options)
  checkRecordsFile(options.folder, options.suite)
  const tokensPerSecond = await sampleSuite(options)
  const records = await gradeSuite(options)
  return { ...summary(records, options), tokens_per_second: tokensPerSecond }
}

/** @throws InputError for a model behind a server, which tells no probability of given texts */
async function evaluateChoices(options: EvaluateOptions): Promise<SuiteResult> {
  const { openScored, suite, model, problems, folder, signal, onProgress } = options
  if (openScored === undefined) {
    throw new InputError(
      `--suite ${suite}: compares the probabilities of given answers, which a server does not tell; evaluate the model's folder`,
    )
  }
  const scored = await openScored()
  try {
    const records = await judgeChoices({
      model: scored,
      called: model,
      suite,
      problems,
      folder,
      ...(signal ? { signal } : {}),
      onProgress: () => onProgress?.(0, problems.length),
    })
    const settings = { ...options.settings, n: 1, temperature: 0 }
    return { ...summary(records, { ...options, settings }), tokens_per_second: null }
  } finally {
    await scored.release()
  }
}

const samplesPath = ({ folder, suite }: EvaluateOptions): string =>
  join(folder, `${suite}.samples.jsonl`)

/** Refuses a folder where an evaluation would write over what none wrote. */
export function checkEvaluationFolder(folder: string, suites: readonly string[]): void {
  checkOutputFolder(folder, { option: "--out" })
  for (const suite of suites) checkRecordsFile(folder, suite)
  checkOutputFile(join(folder, "eval.json"), {
    option: "--out",
    wrote: (head) => /^\s*\[\s*\{\s*"(suite|model)"/.test(head),
    writer: "dftune eval",
  })
  checkOutputFile(join(folder, "report.html"), {
    option: "--out",
    wrote: isPage,
    writer: "dftune eval",
  })
}

async function sampleSuite(options: EvaluateOptions): Promise<number | null> {
  const { problems, settings, model, suite, signal, onProgress } = options
  const { layout = { hasTemplate: true, plainTexts: "auto" }, judge = "math" } = options
  const { n, seed, prompt, mode: _, ...asked } = settings
  const sampling = samplingRecord(asked)
  const rows = problems.map(({ id, problem, gold, continues }) => ({
    where: `${suite} ${id}`,
    // the sample file compares these fields, so other settings cannot be mixed into one file
    fields: { suite, id, problem, answer: gold, model, prompt_style: prompt, sampling },
    prompt: promptIn(
      prompt,
      { problem, ...(continues ? { continues } : {}) },
      { ...layout, judge },
    ),
  }))
  const wanted = rows.length * n
  const origin = options.origin && { ...options.origin, n, seed, prompt_style: prompt, sampling }
  const file = await openSampleFile(samplesPath(options), {
    rows,
    n,
    seed,
    ...(origin ? { origin } : {}),
    ...(options.onNotice ? { onNotice: options.onNotice } : {}),
  })
  let done = file.done.size
  try {
    if (done === wanted) return null
    const { source, release } = await options.openSource()
    const begun = performance.now()
    let tokens = 0
    let said = 0
    try {
      for await (const sample of generate({
        source,
        rows,
        n,
        seed,
        done: file.done,
        settings: asked,
        keepGoing: true,
        onToken: () => onProgress?.(done, wanted, ++said),
        ...(signal ? { signal } : {}),
      })) {
        const { logprobs: _, ...row } = sampleRow(rows[sample.row]!.fields, sample, options.origin)
        file.append(row)
        tokens += Math.max(sample.tokenIds.length, sample.logprobs.length)
        onProgress?.(++done, wanted)
      }
    } finally {
      await release()
    }
    signal?.throwIfAborted()
    await file.finish()
    return tokens === 0 ? null : tokens / ((performance.now() - begun) / 1000)
  } finally {
    file.close()
  }
}

/** Answers that are graded at once; between them it is told how far it is. */
const CHUNK = 512
const PROGRAMS_CHUNK = 8

async function gradeSuite(options: EvaluateOptions): Promise<EvaluationRecord[]> {
  const { folder, suite, settings, signal } = options
  const records: EvaluationRecord[] = []
  const { judge = "math" } = options
  assert(judge !== "choices", "choices are not sampled")
  await using grader = await JUDGES[judge](settings.mode, options.onNotice)
  let chunk: JsonObject[] = []
  const flush = async (): Promise<void> => {
    signal?.throwIfAborted()
    const items = chunk.map((row) => ({
      completion: String(row.completion),
      gold: String(row.answer),
    }))
    const verdicts = await grader.judge(items, signal)
    chunk.forEach((row, i) => {
      const tokens = Array.isArray(row.token_ids) ? row.token_ids.length : 0
      const { token_ids: _, ...rest } = row
      records.push({
        ...rest,
        tokens,
        ...verdictFields(verdicts[i]!),
      } as unknown as EvaluationRecord)
    })
    chunk = []
    options.onGraded?.(records.length, options.problems.length * settings.n)
  }
  const size = judge === "programs" ? PROGRAMS_CHUNK : CHUNK
  for await (const { row } of rowsOf(samplesPath(options))) {
    chunk.push(row)
    if (chunk.length === size) await flush()
  }
  await flush()
  await replaceFile(recordsPath(folder, suite), async (handle) => {
    for (const record of records) await handle.appendFile(`${JSON.stringify(record)}\n`)
  })
  return records
}

/** A verdict as a row's fields. */
export function verdictFields(verdict: Verdict): JsonObject {
  const { version, mode, ...rest } = verdict
  return { ...rest, grading: mode, grader_version: version }
}

function summary(
  records: readonly EvaluationRecord[],
  { suite, model, settings, origin }: EvaluateOptions,
): Omit<SuiteResult, "tokens_per_second"> {
  const problems = [...groupById(records).values()]
  const outcomes = problems.map((group) => group.map(({ correct }) => correct))
  const by = (key: "strict" | "lenient"): number =>
    averageAtN(problems.map((group) => group.map((record) => record[key] === true)))
  const tokens = records.map((record) => Number(record.tokens))
  const reasons: Record<string, number> = {}
  for (const { finish_reason } of records)
    reasons[finish_reason] = (reasons[finish_reason] ?? 0) + 1
  const total = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0)
  return {
    suite,
    model,
    problems: problems.length,
    n: settings.n,
    score: averageAtN(outcomes),
    ci95: bootstrapInterval(outcomes, { seed: settings.seed }),
    strict: by("strict"),
    lenient: by("lenient"),
    pass_at: Object.fromEntries(
      passCounts(settings.n).map((k) => [String(k), meanPassAtK(outcomes, k)]),
    ),
    majority: averageAtN(
      problems.map((group) => [
        majorityCorrect(group.map(({ extracted, correct }) => ({ answer: extracted, correct }))),
      ]),
    ),
    paper_score: paperScore(outcomes),
    undecided: records.filter(({ decided }) => !decided).length,
    no_answer: records.filter(({ extracted }) => extracted === null).length,
    ...unanswered(records),
    finish_reasons: reasons,
    mean_tokens: total(tokens) === 0 ? null : total(tokens) / records.length,
    mean_characters: total(records.map(({ completion }) => completion.length)) / records.length,
    mode: settings.mode,
    ...(origin?.dtype === undefined ? {} : { dtype: String(origin.dtype) }),
    grader_version: GRADER_VERSION,
    settings: settingsRecord(settings),
  }
}

function settingsRecord({ n, seed, prompt, mode, ...asked }: EvaluationSettings): JsonObject {
  return { n, seed, ...samplingRecord(asked), prompt, mode }
}

function unanswered(records: readonly EvaluationRecord[]) {
  const errors = records.map(({ error }) => error).filter((error) => typeof error === "string")
  return {
    without_completion: errors.length,
    ...(errors[0] === undefined ? {} : { first_error: errors[0] }),
  }
}

function groupById(records: readonly EvaluationRecord[]): Map<string, EvaluationRecord[]> {
  const groups = new Map<string, EvaluationRecord[]>()
  for (const record of records) {
    const group = groups.get(record.id)
    if (group) group.push(record)
    else groups.set(record.id, [record])
  }
  return groups
}

/** 1, 2, 4, ... up to n, and n. */
function passCounts(n: number): number[] {
  const counts: number[] = []
  for (let k = 1; k < n; k *= 2) counts.push(k)
  return [...counts, n]
}
