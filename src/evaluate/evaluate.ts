/** `dftune eval --suite`: benchmarks and files of problems, sampled, graded and summed up. */
import { existsSync } from "node:fs"
import { basename, dirname, join, resolve } from "node:path"
import type { RowPrompt } from "../data/rows/index.ts"
import { InputError } from "../errors.ts"
import { writeFileAtomic } from "../formats/atomic.ts"
import { type Asking, askingOf, askingWarning } from "../generate/asking.ts"
import { type AskedModelOptions, openAskedModel } from "../generate/generation.ts"
import { modelNamed } from "../generate/model-named.ts"
import { modelFolders, modelPrecision } from "../generate/open-model.ts"
import { endpointOrigin, localModelOrigin, type SampleOrigin } from "../generate/sample-origin.ts"
import type { Prompt } from "../generate/sample-source.ts"
import { checkBounds, checkWord } from "../generate/sampling-bounds.ts"
import { MODES, type Mode } from "../grading/index.ts"
import { openScoredModel } from "../train/scored-model.ts"
import {
  checkEvaluationFolder,
  type EvaluationSettings,
  evaluateSuite,
  type SuiteResult,
} from "./evaluation.ts"
import { PAPER_PRESET, PROMPT_STYLES, type PromptStyle, promptIn } from "./prompts.ts"
import { evaluationHtml } from "./report.ts"
import { suiteProgress } from "./suite-progress.ts"
import { openSuite, PAPER_SUITES } from "./suites/index.ts"

export interface EvaluateModelOptions extends Omit<AskedModelOptions, "device"> {
  /** Names of benchmarks, files of problems, or `exact:FILE`, `choices:FILE`. */
  readonly suites?: readonly string[] | undefined
  /** A folder with the benchmarks' files; the hub if left out. */
  readonly suiteDir?: string | undefined
  /** `paper`: the paper's benchmarks, prompts, settings and grader. */
  readonly preset?: "paper" | undefined
  /** Only the first problems of each. */
  readonly limit?: number | undefined
  /** Samples of each problem; 1 if left out. */
  readonly n?: number | undefined
  readonly temperature?: number | undefined
  readonly topP?: number | undefined
  readonly topK?: number | undefined
  readonly minP?: number | undefined
  readonly repetitionPenalty?: number | undefined
  readonly maxNewTokens?: number | undefined
  readonly seed?: number | undefined
  /** How a problem is put; `auto`: as the model's rows were. */
  readonly prompt?: PromptStyle | undefined
  /** How answers are judged; lenient if left out. */
  readonly mode?: Mode | undefined
  /** For samples, records, eval.json and report.html; evals/MODEL if left out. */
  readonly out?: string | undefined
}

export interface Evaluated {
  readonly folder: string
  readonly results: readonly SuiteResult[]
}

/**
 * Asks a model, or an endpoint, the problems of the suites and grades its answers. What a call that
 * was interrupted has sampled is there for the next one.
 *
 * @throws InputError for a suite, model or folder that is missing or wrong, and where nothing was
 * answered
 */
export async function evaluate(word: string, options: EvaluateModelOptions): Promise<Evaluated> {
  checkBounds(options)
  checkWord("prompt", options.prompt, PROMPT_STYLES)
  checkWord("mode", options.mode, MODES)
  const { endpoint, onNotice, onWarning, onProgress, signal } = options
  const model = endpoint === undefined ? await modelNamed(word, onNotice) : word
  const suites = await openedSuites(options)
  const settings = settingsOf(options)
  const folder = options.out ?? evaluationFolder(model)
  checkEvaluationFolder(
    folder,
    suites.map(({ name }) => name),
  )
  const asking = await askingOf(model, {
    ...(signal ? { signal } : {}),
    ...(onProgress ? { onProgress } : {}),
    base: options.base,
    endpoint: endpoint !== undefined,
    template: options.template,
    onNotice,
  })
  const warning = layoutWarning(suites[0]?.problems[0]?.problem, settings.prompt, asking)
  if (warning) onWarning?.({ code: "layout", ...warning })
  const shared = { model, origin: await originOf(model, options), settings, folder }
  const opened = opener(model, options)
  const results: SuiteResult[] = []
  try {
    for (const { name: suite, problems, judge } of suites) {
      const result = await evaluateSuite({
        ...shared,
        ...opened.sources,
        ...{ suite, problems, judge, layout: asking },
        ...(signal ? { signal } : {}),
        ...(onNotice ? { onNotice } : {}),
        ...(onProgress ? suiteProgress(suite, onProgress) : {}),
      })
      results.push(result)
      const missed = missing(result)
      if (missed) onNotice?.(missed)
    }
  } finally {
    await opened.close()
  }
  await writeFileAtomic(join(folder, "eval.json"), `${JSON.stringify(results, null, 2)}\n`)
  await writeFileAtomic(join(folder, "report.html"), await evaluationHtml(folder, results))
  return { folder, results }
}

async function openedSuites({ suites = [], preset, suiteDir, limit }: EvaluateModelOptions) {
  const names = suites.length === 0 && preset ? PAPER_SUITES : suites
  if (names.length === 0) {
    throw new InputError(
      "eval: expected --suite NAME,... (or files of problems), or --data FILE of rows",
    )
  }
  const load = { folder: suiteDir, limit }
  const opened = []
  const seen = new Map<string, string>()
  for (const name of names) {
    const suite = await openSuite(name, load)
    const before = seen.get(suite.name)
    if (before !== undefined) {
      const both = before === name ? `${name} twice` : `${before} and ${name}`
      throw new InputError(
        `--suite ${both}: their samples and records would have one name, ${suite.name}.jsonl; rename one of them or evaluate them apart`,
      )
    }
    seen.set(suite.name, name)
    opened.push(suite)
  }
  return opened
}

/** What is given wins over the preset, the preset over the defaults. */
function settingsOf(options: EvaluateModelOptions): EvaluationSettings {
  const preset = options.preset === "paper" ? PAPER_PRESET : undefined
  const { topP = preset?.topP, topK, minP, repetitionPenalty = 1 } = options
  return {
    n: options.n ?? preset?.n ?? 1,
    temperature: options.temperature ?? preset?.temperature ?? 1,
    maxNewTokens: options.maxNewTokens ?? preset?.maxNewTokens ?? 1024,
    seed: options.seed ?? 0,
    prompt: options.prompt ?? preset?.prompt ?? "auto",
    mode: options.mode ?? preset?.mode ?? "lenient",
    stop: preset?.stop ?? [],
    ...(topP === undefined ? {} : { topP }),
    ...(topK === undefined ? {} : { topK }),
    ...(minP === undefined ? {} : { minP }),
    ...(repetitionPenalty === 1 ? {} : { repetitionPenalty }),
  }
}

/** One model serves all suites: it is let go of at the end. */
function opener(model: string, options: EvaluateModelOptions) {
  let opened: ReturnType<typeof openAskedModel> | undefined
  const { endpoint, base, dtype = "auto", threads, signal, onProgress } = options
  const openSource = async () => {
    opened ??= openAskedModel(model, options)
    const { source } = await opened
    return { source, release: async () => {} }
  }
  const openScored = () =>
    openScoredModel(model, {
      dtype,
      ...(signal ? { signal } : {}),
      ...(onProgress ? { onProgress } : {}),
      ...(base === undefined ? {} : { base }),
      ...(threads === undefined ? {} : { threads }),
    })
  return {
    sources: { openSource, ...(endpoint === undefined ? { openScored } : {}) },
    async close() {
      if (opened) await (await opened).release()
    },
  }
}

async function originOf(model: string, options: EvaluateModelOptions): Promise<SampleOrigin> {
  const { endpoint, base, dtype = "auto", signal, onProgress, onNotice } = options
  if (endpoint !== undefined) return endpointOrigin(model, endpoint)
  const hub = { ...(signal ? { signal } : {}), ...(onProgress ? { onProgress } : {}) }
  const folders = await modelFolders(model, { ...hub, base, onNotice })
  return localModelOrigin(model, folders, await modelPrecision(folders, { dtype }))
}

/** The first problem stands for all: they are laid out alike. */
function layoutWarning(problem: string | undefined, style: PromptStyle, asking: Asking) {
  if (problem === undefined) return undefined
  const prompt = style === "auto" ? { prompt: problem, question: true as const } : undefined
  const asked = prompt ?? rowPrompt(promptIn(style, { problem }, asking))
  return asked && askingWarning(asked, asking)
}

function rowPrompt(prompt: Prompt): RowPrompt | undefined {
  if (typeof prompt === "string") return { prompt }
  return "tokenIds" in prompt
    ? undefined
    : { prompt: "messages" in prompt ? prompt.messages : prompt }
}

/** `evals/NAME`: a folder's own name (a run's, not its `model`), a hub id with its owner. */
function evaluationFolder(model: string): string {
  const plain = (name: string) => name.replace(/[^\w.-]+/g, "-").replace(/^-|-$/g, "")
  const former = join("evals", plain(model))
  if (!existsSync(model) || existsSync(former)) return former
  const folder = resolve(model)
  return join("evals", plain(basename(basename(folder) === "model" ? dirname(folder) : folder)))
}

/** @throws InputError where nothing was answered at all */
function missing({ suite, problems, n, without_completion, first_error }: SuiteResult) {
  if (without_completion === problems * n) {
    throw new InputError(`${suite}: no problem was answered; the first: ${first_error}`)
  }
  if (without_completion === 0) return undefined
  return `${suite}: ${without_completion} samples have no completion and count as wrong; the first: ${first_error}`
}
