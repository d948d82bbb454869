/** The paper's experiment in miniature: one start, two objectives, the same data. */
import { availableParallelism } from "node:os"
import { join } from "node:path"
import { type Config, type ConfigInput, parseConfig } from "../config/index.ts"
import { train } from "../engines/index.ts"
import {
  averageAtN,
  bootstrapInterval,
  type Difference,
  type Interval,
  type Outcomes,
  pairedDifference,
} from "../evaluate/index.ts"
import { openGenerator } from "../generate/index.ts"
import type { RunEvent, StepEvent } from "../run/events.ts"
import { type Question, type QuestionSet, type TaskData, writeDemoData } from "./data.ts"
import { statedAnswer } from "./problems.ts"

export const OBJECTIVES = ["sft", "dft"] as const
export type ObjectiveName = (typeof OBJECTIVES)[number]

export interface DemoSettings {
  /** The folder of the bundled model. */
  readonly model: string
  /** Gets data, runs and results. */
  readonly folder: string
  /** Fine-tuning runs of each objective on the noisy data. */
  readonly seeds: number
  readonly questions: number
  readonly trainRows: number
  readonly newFacts: number
  readonly steps: { readonly noisy: number; readonly facts: number }
}

/** Sampling temperatures; 0 is greedy. */
export type Temperature = 0 | 0.5 | 1

/** One model asked one set at one temperature; of several seeds, all their samples together. */
export interface Score {
  readonly task: TaskData["name"]
  readonly set: string
  readonly model: "base" | ObjectiveName
  readonly temperature: Temperature
  /** Share of right answers, 0 to 1. */
  readonly score: number
  /** 95 %, resampling problems. */
  readonly ci95: Interval
  /** The share of each fine-tuning seed. */
  readonly perSeed: readonly number[]
  readonly problems: number
  /** By problem, then by seed. */
  readonly outcomes: readonly Outcomes[]
}

export interface DemoSample {
  readonly task: TaskData["name"]
  readonly set: string
  readonly model: "base" | ObjectiveName
  readonly temperature: Temperature
  readonly prompt: string
  readonly answer: string
  readonly completion: string
  readonly correct: boolean
  readonly tokens: readonly string[]
  readonly probabilities: readonly number[]
}

export interface DemoRun {
  readonly task: TaskData["name"]
  readonly objective: ObjectiveName
  readonly seed: number
  readonly path: string
}

export interface DemoResult {
  readonly settings: DemoSettings
  readonly tasks: readonly TaskData[]
  readonly runs: readonly DemoRun[]
  readonly scores: readonly Score[]
  /** The first questions of each set, as each model answered them. */
  readonly samples: readonly DemoSample[]
  readonly seconds: number
}

export interface DemoOptions {
  readonly signal?: AbortSignal
  /** A part of the work begins. */
  readonly onStage?: (text: string) => void
  /** How far the present part is. */
  readonly onProgress?: (text: string) => void
}

const RATE = { noisy: 5e-4, facts: 1e-3 } as const
const BATCH = 64

/** The run that fine-tunes the bundled model on one of the demo's data sets. */
export function demoConfig(
  { model, folder, steps }: DemoSettings,
  task: TaskData,
  { objective, seed }: { readonly objective: ObjectiveName; readonly seed: number },
): Config {
  const input: ConfigInput = {
    model,
    data: {
      train: [{ path: task.train }],
      eval: [{ path: task.eval }],
      format: "messages",
      max_length: 192,
    },
    objective,
    learning_rate: RATE[task.name],
    warmup_ratio: 0.1,
    batch_size: BATCH,
    micro_batch_tokens: 1024,
    max_steps: steps[task.name],
    eval_steps: 10,
    save_steps: 0,
    seed,
    engine: { name: "onnx", device: "cpu", threads: 1 },
    output_dir: join(folder, `${task.name}-${objective}-${seed}`),
  }
  return parseConfig(input)
}

/** Trains and asks; everything it makes lies below `settings.folder`. */
export async function runDemo(
  settings: DemoSettings,
  options: DemoOptions = {},
): Promise<DemoResult> {
  const began = performance.now()
  const tasks = await writeDemoData(join(settings.folder, "data"), settings)
  const jobs = tasks.flatMap((task) => jobsOf(settings, task))
  const progress = new Map<string, string>()
  const answers = await inLanes(jobs, (job) => {
    options.onStage?.(job.name)
    return job
      .run({
        ...options,
        onProgress: (text) => {
          progress.set(job.name, `${job.name}: ${text}`)
          options.onProgress?.([...progress.values()].join(" · "))
        },
      })
      .finally(() => progress.delete(job.name))
  })
  const runs = jobs.flatMap(({ made }) => made ?? [])
  return {
    settings,
    tasks,
    runs,
    scores: scoresOf(answers.flat()),
    samples: answers.flat().flatMap(({ samples }) => samples),
    seconds: (performance.now() - began) / 1000,
  }
}

/** A part that waits for no other. */
interface Job {
  readonly name: string
  readonly made?: DemoRun
  readonly run: (options: DemoOptions) => Promise<Answers[]>
}

function jobsOf(settings: DemoSettings, task: TaskData): Job[] {
  // One run shows that a fact is learnt or not; on noisy data runs differ more.
  const seeds = task.name === "noisy" ? settings.seeds : 1
  const base: Job = {
    name: `base, asked about ${task.name}`,
    run: (options) => askAll({ path: settings.model, task, model: "base", seed: 0 }, options),
  }
  const tuned = Array.from({ length: seeds }, (_, i) =>
    OBJECTIVES.map((objective): Job => {
      const seed = i + 1
      const config = demoConfig(settings, task, { objective, seed })
      const which = seeds > 1 ? `, run ${seed} of ${seeds}` : ""
      return {
        name: `${objective.toUpperCase()} on ${task.name}${which}`,
        made: { task: task.name, objective, seed, path: config.output_dir },
        run: async (options) => {
          const path = await fineTune(config, options)
          return askAll({ path, task, model: objective, seed }, options)
        },
      }
    }),
  )
  return [base, ...tuned.flat()]
}

/** Results in the order of the jobs; two at once where there are two cores, each on one thread. */
export async function inLanes<J, R>(jobs: readonly J[], run: (job: J) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  let next = 0
  const lane = async () => {
    while (next < jobs.length) {
      const index = next++
      results[index] = await run(jobs[index]!)
    }
  }
  await Promise.all(Array.from({ length: Math.min(2, availableParallelism()) }, lane))
  return results
}

export async function fineTune(
  config: Config,
  { signal, onProgress }: DemoOptions,
): Promise<string> {
  const run = train(config, signal ? { signal } : {})
  for await (const event of run) {
    if (isStep(event)) {
      onProgress?.(
        `step ${event.step} of ${config.max_steps}: NLL ${event.nll.toFixed(3)}, mean p ${event.mean_p.toFixed(3)}`,
      )
    }
  }
  const { model } = await run.result
  signal?.throwIfAborted()
  return model!
}

const isStep = (event: RunEvent): event is StepEvent => event.type === "step"

interface Asked {
  readonly path: string
  readonly task: TaskData
  readonly model: "base" | ObjectiveName
  /** Of the fine-tuning run, and of its samples. */
  readonly seed: number
}

interface Answers extends Pick<Score, "task" | "set" | "model" | "temperature"> {
  readonly seed: number
  readonly correct: readonly boolean[]
  readonly samples: readonly DemoSample[]
}

/** Answers of each set that the report shows. */
const SHOWN = 3

async function askAll(
  { path, task, model, seed }: Asked,
  options: DemoOptions,
): Promise<Answers[]> {
  const generator = await openGenerator(path, { threads: 1 })
  try {
    const all: Answers[] = []
    for (const set of task.sets) {
      // The base at half the temperature: what sharpening alone gives.
      const temperatures: Temperature[] = model === "base" ? [1, 0.5, 0] : [1, 0]
      for (const temperature of temperatures) {
        const asked = { set, temperature, seed }
        options.onProgress?.(`${set.name}, ${temperatureText(temperature)}`)
        const samples = await ask(generator, task, {
          ...asked,
          ...(options.signal ? { signal: options.signal } : {}),
        })
        all.push({
          task: task.name,
          set: set.name,
          model,
          temperature,
          seed,
          correct: samples.map(({ correct }) => correct),
          samples: seed > 1 ? [] : samples.slice(0, SHOWN).map((sample) => ({ ...sample, model })),
        })
      }
    }
    return all
  } finally {
    await generator.close()
  }
}

export const temperatureText = (temperature: Temperature): string =>
  temperature === 0 ? "greedy" : `T = ${temperature}`

/** Far apart, so that the samples of two questions or runs share no seed. */
export const sampleSeed = (run: number, question: number) => run * 1_000_000 + question

async function ask(
  generator: Awaited<ReturnType<typeof openGenerator>>,
  task: TaskData,
  {
    set,
    temperature,
    seed,
    signal,
  }: { set: QuestionSet; temperature: Temperature; seed: number; signal?: AbortSignal },
): Promise<Omit<DemoSample, "model">[]> {
  const samples: Omit<DemoSample, "model">[] = []
  const requests = set.questions.map(({ prompt }, i) => ({
    prompt: [{ role: "user", content: prompt }],
    n: 1,
    temperature,
    maxNewTokens: set.maxNewTokens,
    seed: sampleSeed(seed, i),
  }))
  const { tokenizer } = generator.open
  for await (const sample of generator.sample(requests, signal ? { signal } : {})) {
    const question = set.questions[sample.requestIndex]!
    samples[sample.requestIndex] = {
      task: task.name,
      set: set.name,
      temperature,
      ...question,
      completion: sample.completion,
      correct: isCorrect(question, sample.completion),
      tokens: sample.tokenIds.map((id) => tokenizer.tokenText(id)),
      probabilities: sample.logprobs.map(Math.exp),
    }
  }
  return samples
}

/** A number is taken from "The answer is"; a sentence must be the same to the letter. */
function isCorrect({ answer }: Question, completion: string): boolean {
  return /^\d+$/.test(answer) ? statedAnswer(completion) === answer : completion.trim() === answer
}

function scoresOf(answers: readonly Answers[]): Score[] {
  const groups = new Map<string, Answers[]>()
  for (const one of answers) {
    const key = [one.task, one.set, one.model, one.temperature].join(" ")
    groups.set(key, [...(groups.get(key) ?? []), one])
  }
  return [...groups.values()].map((group) => {
    const { task, set, model, temperature, correct } = group[0]!
    const outcomes = correct.map((_, i) => group.map((one) => one.correct[i]!))
    return {
      task,
      set,
      model,
      temperature,
      score: averageAtN(outcomes),
      ci95: bootstrapInterval(outcomes),
      perSeed: group.map((one) => averageAtN(one.correct.map((right) => [right]))),
      problems: outcomes.length,
      outcomes,
    }
  })
}

/** DFT minus SFT on the same problems. */
export function dftMinusSft(
  scores: readonly Score[],
  where: Pick<Score, "task" | "set" | "temperature">,
): Difference {
  const of = (model: ObjectiveName) => {
    const score = findScore(scores, { ...where, model })
    return new Map((score?.outcomes ?? []).map((outcomes, i) => [String(i), outcomes]))
  }
  return pairedDifference(of("sft"), of("dft"))
}

export function findScore(
  scores: readonly Score[],
  { task, set, model, temperature }: Pick<Score, "task" | "set" | "model" | "temperature">,
): Score | undefined {
  return scores.find(
    (one) =>
      one.task === task &&
      one.set === set &&
      one.model === model &&
      one.temperature === temperature,
  )
}
