/**
 * `dftune generate`: samples of a model, or of an endpoint, for the prompts of a file or a program.
 */
import { typedPrompt } from "../data/layout.ts"
import { readPrompt } from "../data/rows/prompt-row.ts"
import { InputError } from "../errors.ts"
import type { JsonObject } from "../formats/json.ts"
import { openToRead } from "../formats/json-files.ts"
import type { Told } from "../host/told.ts"
import { progressMeter } from "../report/progress.ts"
import { shortCount } from "../report/units.ts"
import type { DeviceOptions, Precision } from "../runtime/index.ts"
import { type Asking, askingOf, askingWarning, templateFile } from "./asking.ts"
import { EndpointSource } from "./endpoint.ts"
import { type GenerateSettings, generate, type RowSample } from "./generate.ts"
import { modelNamed } from "./model-named.ts"
import { type ModelFolders, modelFolders, modelPrecision, openGenerator } from "./open-model.ts"
import { type AskedRow, type PromptRow, promptOf, readPromptFile } from "./prompt-rows.ts"
import { openSampleFile, type SampleFile, sampleRow } from "./sample-file.ts"
import {
  endpointOrigin,
  localModelOrigin,
  type SampleOrigin,
  samplingRecord,
} from "./sample-origin.ts"
import type { Prompt, SampleSource } from "./sample-source.ts"
import { checkBounds } from "./sampling-bounds.ts"
import { UnansweredCount } from "./unanswered.ts"

/** Where the model is, and how it is opened. */
export interface AskedModelOptions extends Told {
  /** An OpenAI-compatible server, of whose models the given one is a name. */
  readonly endpoint?: string | undefined
  /** Sent to the endpoint; OPENAI_API_KEY if left out. */
  readonly apiKey?: string | undefined
  /** Requests to the endpoint at once. */
  readonly concurrency?: number | undefined
  /** In place of the base that an adapter names. */
  readonly base?: string | undefined
  /** `auto`, `none`, `true` or a .jinja file, in place of the layout of the model's rows. */
  readonly template?: string | undefined
  readonly device?: DeviceOptions["device"] | undefined
  readonly dtype?: "auto" | Precision | undefined
  /** Processor threads; all cores if left out. */
  readonly threads?: number | undefined
}

export interface GenerationOptions extends AskedModelOptions, Partial<GenerateSettings> {
  /** A file of rows, or rows: texts, or objects with what a row of a file has. */
  readonly prompts: string | readonly (string | JsonObject)[]
  /** Told to rows that have no system text. */
  readonly system?: string | undefined
  /** Samples of each prompt; 1 if left out. */
  readonly n?: number | undefined
  /** Sample i of row r has the seed `seed + r n + i`. */
  readonly seed?: number | undefined
  /** JSONL to write, or to go on with. */
  readonly out?: string | undefined
  /** Told once, before the first row: what each prompt's row asks, laid out. */
  readonly onAsked?: ((prompts: readonly Prompt[]) => void) | undefined
}

export interface GenerationSummary {
  /** The file, where one was named. */
  readonly out?: string
  readonly samples: number
  /** Those that this call made. */
  readonly new_samples: number
  readonly tokens: number
  readonly seconds: number
  readonly without_completion?: number
}

type Settled = GenerationOptions & { readonly n: number; readonly seed: number }

const DEFAULTS = { temperature: 1, maxNewTokens: 512, stop: [] } as const

/**
 * Samples the prompts. Rows (the prompt's fields and the sample's, docs/generation.md) come in the
 * order of the prompts; with `out` as they finish, and the file is put in order at the end.
 *
 * @throws InputError for a model, prompt or file that is missing or wrong, and where no prompt was
 * answered
 */
export async function* generation(
  word: string,
  given: GenerationOptions,
): AsyncGenerator<JsonObject, GenerationSummary> {
  checkBounds(given)
  const options: Settled = { ...given, n: given.n ?? 1, seed: given.seed ?? 0 }
  const { out, onWarning, onNotice } = options
  const model = options.endpoint === undefined ? await modelNamed(word, onNotice) : word
  await checkPrompts(options.prompts)
  const asking = await askingOf(model, {
    ...hubOptions(options),
    base: options.base,
    template: options.template,
    endpoint: options.endpoint !== undefined,
    onNotice,
  })
  const asked = await askedRows(options, asking)
  const warning = askingWarning(asked[0]!.asked, asking)
  if (warning) onWarning?.({ code: "layout", ...warning })
  const rows = asked.map((row) => ({ ...row, prompt: promptOf(row.asked, asking) }))
  options.onAsked?.(rows.map(({ prompt }) => prompt))
  const local = await localModel(model, options)
  const file =
    out === undefined
      ? undefined
      : await openOutput(out, rows, options, originOf(model, options, rows, local))
  const wanted = rows.length * options.n
  try {
    const done = file?.done ?? new Set<number>()
    if (done.size > 0) onNotice?.(`${out}: ${done.size} of ${wanted} samples are there`)
    const parts = { model, options, rows, local, file, done }
    const written = done.size < wanted ? yield* sampled(parts) : NOTHING_NEW
    await file?.finish()
    return { ...(out === undefined ? {} : { out }), samples: wanted, ...written }
  } finally {
    file?.close()
  }
}

const NOTHING_NEW = { new_samples: 0, tokens: 0, seconds: 0 }

/** What is asked is there, before a model is looked for. */
async function checkPrompts(prompts: GenerationOptions["prompts"]): Promise<void> {
  if (typeof prompts === "string") await (await openToRead(prompts)).close()
  else if (prompts.length === 0) throw new InputError("prompts: expected at least one, got none")
}

async function askedRows({ prompts, system }: Settled, asking: Asking): Promise<AskedRow[]> {
  const { columns, trained } = asking
  if (typeof prompts === "string") return readPromptFile(prompts, columns, system)
  return prompts.map((row, i) => {
    const where = prompts.length === 1 ? "--prompt" : `prompts[${i}]`
    return typeof row === "string"
      ? { where, fields: { prompt: row }, asked: typedPrompt(row, trained, system) }
      : { where, fields: row, asked: readPrompt(row, { columns, where, system }) }
  })
}

const hubOptions = ({ signal, onProgress }: Told) => ({
  ...(signal ? { signal } : {}),
  ...(onProgress ? { onProgress } : {}),
})

function settingsOf(options: GenerationOptions): GenerateSettings {
  const { temperature, topK, topP, minP, repetitionPenalty = 1, maxNewTokens, stop } = options
  return {
    temperature: temperature ?? DEFAULTS.temperature,
    maxNewTokens: maxNewTokens ?? DEFAULTS.maxNewTokens,
    stop: stop ?? DEFAULTS.stop,
    ...(topK === undefined ? {} : { topK }),
    ...(topP === undefined ? {} : { topP }),
    ...(minP === undefined ? {} : { minP }),
    ...(repetitionPenalty === 1 ? {} : { repetitionPenalty }),
  }
}

/** Where a local model lies and the precision it is computed in. */
interface LocalModel {
  readonly folders: ModelFolders
  readonly dtype: Precision
}

async function localModel(model: string, options: Settled): Promise<LocalModel | undefined> {
  const { endpoint, base, signal, onNotice } = options
  if (endpoint !== undefined) return undefined
  const folders = await modelFolders(model, { ...(signal ? { signal } : {}), base, onNotice })
  return { folders, dtype: await modelPrecision(folders, deviceOf(options)) }
}

const deviceOf = ({ device, dtype = "auto" }: AskedModelOptions) => ({
  dtype,
  ...(device === undefined ? {} : { device }),
})

/** What makes the samples: the model itself, and all that they depend on besides their prompts. */
function originOf(
  model: string,
  options: Settled,
  rows: readonly PromptRow[],
  local: LocalModel | undefined,
): SampleOrigin {
  const { n, seed, system, template = "as trained" } = options
  const made = local
    ? localModelOrigin(model, local.folders, local.dtype)
    : endpointOrigin(model, options.endpoint!)
  const asked = rows[0]!.prompt
  const layout = {
    template,
    prompts: typeof asked === "string" ? "text" : "tokenIds" in asked ? "ids" : "messages",
    ...(system === undefined ? {} : { system }),
  }
  return { ...made, n, seed, ...layout, sampling: samplingRecord(settingsOf(options)) }
}

/** A file that can be continued. */
function openOutput(
  out: string,
  rows: readonly PromptRow[],
  { n, seed, prompts, onNotice }: Settled,
  origin: SampleOrigin,
): Promise<SampleFile> {
  const reads = typeof prompts === "string" ? [{ path: prompts, what: "the prompts" }] : []
  const told = onNotice ? { onNotice } : {}
  return openSampleFile(out, { rows, n, seed, reads, origin, ...told })
}

/** Opens what samples: the model, or the way to the endpoint. */
export async function openAskedModel(
  model: string,
  options: AskedModelOptions,
): Promise<{ readonly source: SampleSource; release(): Promise<void> }> {
  const { endpoint, apiKey = process.env.OPENAI_API_KEY, concurrency, onNotice } = options
  if (endpoint !== undefined) {
    const many = concurrency === undefined ? {} : { concurrency }
    const told = onNotice ? { onRetry: onNotice } : {}
    const source = new EndpointSource({ url: endpoint, model, apiKey, ...many, ...told })
    return { source, release: async () => {} }
  }
  const source = await openGenerator(model, {
    ...hubOptions(options),
    ...deviceOf(options),
    base: options.base,
    ...templateFile(options.template),
    ...(options.threads === undefined ? {} : { threads: options.threads }),
  })
  return { source, release: () => source.close() }
}

interface Sampling {
  readonly model: string
  readonly options: Settled
  readonly rows: readonly PromptRow[]
  readonly local: LocalModel | undefined
  readonly file: SampleFile | undefined
  readonly done: ReadonlySet<number>
}

type Written = Omit<GenerationSummary, "out" | "samples">

async function* sampled({
  model,
  options,
  rows,
  local,
  file,
  done,
}: Sampling): AsyncGenerator<JsonObject, Written> {
  const { n, seed, out, signal, onProgress, onNotice } = options
  const { source, release } = await openAskedModel(model, options)
  const wanted = rows.length * n
  const begun = performance.now()
  const secondsNow = () => (performance.now() - begun) / 1000
  let tokens = 0
  let samples = 0
  const unanswered = new UnansweredCount()
  const meter = progressMeter("sampling", { unit: "samples" })
  const shown = () => {
    const rate = `${shortCount(tokens)} tokens, ${(tokens / secondsNow()).toFixed(1)}/s`
    onProgress?.(`${meter(done.size + samples, wanted)} · ${rate}`)
  }
  const ordered = inOrder(seed)
  const settings = settingsOf(options)
  const onToken = () => {
    tokens++
    shown()
  }
  const asked = { source, rows, n, seed, done, settings, keepGoing: true, onToken }
  try {
    for await (const sample of generate({ ...asked, ...(signal ? { signal } : {}) })) {
      const row = sampleRow(rows[sample.row]!.fields, sample, local)
      file?.append(row)
      samples++
      unanswered.add(sample)
      tokens += countedOnlyNow(sample, options)
      shown()
      yield* file ? [row] : ordered(row)
    }
  } finally {
    if (signal?.aborted && file !== undefined) {
      onNotice?.(`${out}: ${done.size + samples} of ${wanted} samples; run again to go on`)
    }
    await release()
  }
  const seconds = secondsNow()
  onNotice?.(
    `${samples} samples, ${tokens} tokens in ${seconds.toFixed(1)} s (${(tokens / seconds).toFixed(1)} tokens/s)`,
  )
  for (const line of unanswered.inWords()) onNotice?.(line)
  if (samples > 0 && unanswered.errors === samples) {
    await file?.finish()
    throw new InputError(`no prompt was answered; the first: ${unanswered.first}`)
  }
  return { new_samples: samples, tokens, seconds, ...unanswered.record() }
}

/** Holds rows until all that come before them, by seed, have come. */
function inOrder(first: number): (row: JsonObject) => Generator<JsonObject> {
  const held = new Map<number, JsonObject>()
  let next = first
  return function* (row) {
    held.set(row.seed as number, row)
    for (; held.has(next); next++) {
      yield held.get(next)!
      held.delete(next)
    }
  }
}

/** An endpoint does not stream: its tokens are known when the sample is there. */
function countedOnlyNow({ tokenIds, logprobs }: RowSample, { endpoint }: Settled): number {
  return endpoint === undefined ? 0 : Math.max(tokenIds.length, logprobs.length)
}
