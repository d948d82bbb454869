/**
 * Longer sums than anybody has solutions for: SFT and DFT on the solutions of short sums, or on the
 * long sums' answers alone, beside GRPO on those answers.
 */
import { mkdir } from "node:fs/promises"
import { join } from "node:path"
import { type Config, type ConfigInput, parseConfig } from "../config/index.ts"
import {
  averageAtN,
  bootstrapInterval,
  type Difference,
  type Interval,
  type Outcomes,
  pairedDifference,
} from "../evaluate/index.ts"
import { writeFileAtomic } from "../formats/index.ts"
import { openGenerator } from "../generate/index.ts"
import { randomStream } from "../random.ts"
import { type DemoOptions, fineTune, inLanes, sampleSeed } from "./experiment.ts"
import { answerOf, type ProblemRange, solution, statedAnswer, wordPrompt } from "./problems.ts"
import { LONGER, newProblems, type Question, TRAINED } from "./tasks.ts"

/** What is trained, by the name of its runs: an objective on rows of one of three kinds. */
export const RL_ARMS = {
  "sft-short": { title: "SFT short", objective: "sft", rows: "solutions" },
  "dft-short": { title: "DFT short", objective: "dft", rows: "solutions" },
  "sft-long": { title: "SFT long", objective: "sft", rows: "answers" },
  "dft-long": { title: "DFT long", objective: "dft", rows: "answers" },
  grpo: { title: "GRPO", objective: "grpo", rows: "prompts" },
} as const
export type RlArm = keyof typeof RL_ARMS
export type RlModel = "base" | RlArm
type RowFiles = Readonly<Record<(typeof RL_ARMS)[RlArm]["rows"], string>>

export interface RlDemoSettings {
  /** The folder of the bundled model. */
  readonly model: string
  readonly folder: string
  /** Runs of each arm. */
  readonly seeds: number
  /** All if left out. */
  readonly arms?: readonly RlArm[]
  /** Of each set. */
  readonly questions: number
  readonly trainRows: number
  readonly steps: { readonly supervised: number; readonly grpo: number }
}

export interface RlSet {
  readonly name: string
  readonly about: string
  readonly questions: readonly Question[]
}

export interface RlScore {
  readonly set: string
  readonly model: RlModel
  readonly temperature: 0 | 1
  readonly score: number
  /** 95 %, resampling problems. */
  readonly ci95: Interval
  readonly perSeed: readonly number[]
  readonly problems: number
  /** By problem, then by seed. */
  readonly outcomes: readonly Outcomes[]
}

export interface RlDemoResult {
  readonly settings: RlDemoSettings
  readonly sets: readonly RlSet[]
  readonly runs: readonly {
    readonly arm: RlArm
    readonly seed: number
    readonly path: string
  }[]
  readonly scores: readonly RlScore[]
  readonly seconds: number
}

const FIVE: ProblemRange = { ...LONGER, minSteps: 5, maxSteps: 5 }
const TEMPERATURES = [1, 0] as const
const MAX_NEW_TOKENS = 100
const GROUP = 8

/**
 * Short sums with solutions; long ones with answers, as rows to imitate and as prompts; what to
 * ask.
 */
async function writeData({ folder, trainRows, questions }: RlDemoSettings) {
  const random = randomStream(6, "demo sums without solutions")
  const taken = new Set<string>()
  const fresh = (count: number, range: ProblemRange): Question[] =>
    newProblems(random, { count, range, taken }).map((task) => {
      return { prompt: wordPrompt(random, task), answer: String(answerOf(task)) }
    })
  const rows = fresh(trainRows, LONGER)
  const short = newProblems(random, { count: trainRows, range: TRAINED, taken }).map((task) => {
    return { prompt: wordPrompt(random, task), said: solution(random, task, { style: "verbose" }) }
  })
  const user = (content: string) => ({ role: "user", content })
  const answered = (prompt: string, content: string) => {
    return { messages: [user(prompt), { role: "assistant", content }] }
  }
  await mkdir(join(folder, "data"), { recursive: true })
  const write = async (name: string, lines: readonly object[]) => {
    const path = join(folder, "data", name)
    await writeFileAtomic(path, `${lines.map((line) => JSON.stringify(line)).join("\n")}\n`)
    return path
  }
  const files: RowFiles = {
    solutions: await write(
      "solutions.jsonl",
      short.map(({ prompt, said }) => answered(prompt, said)),
    ),
    answers: await write(
      "answers.jsonl",
      rows.map(({ prompt, answer }) => answered(prompt, `The answer is ${answer}.`)),
    ),
    prompts: await write(
      "prompts.jsonl",
      rows.map(({ prompt, answer }) => ({ messages: [user(prompt)], answer })),
    ),
  }
  const sets: RlSet[] = [
    {
      name: "4 steps",
      about: "longer than any sum with a solution; of such ones the rows have answers alone",
      questions: fresh(questions, LONGER),
    },
    {
      name: "2 or 3 steps",
      about: "as short as those whose solutions are in the rows",
      questions: fresh(questions, TRAINED),
    },
    {
      name: "5 steps",
      about: "longer than anything the model has ever seen",
      questions: fresh(questions, FIVE),
    },
  ]
  return { files, sets }
}

function rlDemoConfig(
  { model, folder, steps }: RlDemoSettings,
  files: RowFiles,
  { arm, seed }: { readonly arm: RlArm; readonly seed: number },
): Config {
  const { objective, rows } = RL_ARMS[arm]
  const samples = objective === "grpo"
  const input: ConfigInput = {
    model,
    data: { train: [{ path: files[rows] }], max_length: 256 },
    objective,
    learning_rate: samples ? 4e-4 : 5e-4,
    lr_scheduler: samples ? "constant" : "cosine",
    batch_size: samples ? 16 * GROUP : 64,
    micro_batch_tokens: 1024,
    max_steps: samples ? steps.grpo : steps.supervised,
    eval_steps: 0,
    save_steps: 0,
    seed,
    ...(samples
      ? {
          rollout: { num_generations: GROUP, max_new_tokens: MAX_NEW_TOKENS },
        }
      : {}),
    engine: { name: "onnx", device: "cpu", threads: 1 },
    output_dir: join(folder, `${arm}-${seed}`),
  }
  return parseConfig(input)
}

interface Answers {
  readonly set: string
  readonly model: RlModel
  readonly temperature: 0 | 1
  readonly correct: readonly boolean[]
}

/** Trains and asks; everything it makes lies below `settings.folder`. */
export async function runRlDemo(
  settings: RlDemoSettings,
  options: DemoOptions = {},
): Promise<RlDemoResult> {
  const began = performance.now()
  const { files, sets } = await writeData(settings)
  const seeds = Array.from({ length: settings.seeds }, (_, i) => i + 1)
  const runs = seeds.flatMap((seed) =>
    (settings.arms ?? (Object.keys(RL_ARMS) as RlArm[])).map((arm) => {
      const config = rlDemoConfig(settings, files, { arm, seed })
      return { arm, seed, path: config.output_dir, config }
    }),
  )
  const progress = new Map<string, string>()
  const jobs = [
    { name: "base", model: "base" as const, seed: 0, config: undefined },
    // The longest first, so that no lane waits for it at the end.
    ...runs
      .toSorted((a, b) => Number(b.arm === "grpo") - Number(a.arm === "grpo"))
      .map(({ arm, seed, config }) => {
        return { name: `${RL_ARMS[arm].title}, run ${seed}`, model: arm, seed, config }
      }),
  ]
  const answers = await inLanes(jobs, async ({ name, model, seed, config }) => {
    options.onStage?.(name)
    const told: DemoOptions = {
      ...options,
      onProgress: (text) => {
        progress.set(name, `${name}: ${text}`)
        options.onProgress?.([...progress.values()].join(" · "))
      },
    }
    const path = config ? await fineTune(config, told) : settings.model
    const found = await askedSets(path, sets, { model, seed }, told)
    progress.delete(name)
    return found
  })
  return {
    settings,
    sets,
    runs: runs.map(({ arm, seed, path }) => ({ arm, seed, path })),
    scores: scoresOf(answers.flat()),
    seconds: (performance.now() - began) / 1000,
  }
}

async function askedSets(
  path: string,
  sets: readonly RlSet[],
  { model, seed }: { readonly model: RlModel; readonly seed: number },
  { signal, onProgress }: DemoOptions,
): Promise<Answers[]> {
  const generator = await openGenerator(path, { threads: 1 })
  try {
    const all: Answers[] = []
    for (const { name: set, questions } of sets) {
      for (const temperature of TEMPERATURES) {
        onProgress?.(`asking, ${set}`)
        const requests = questions.map(({ prompt }, i) => ({
          prompt: [{ role: "user", content: prompt }],
          n: 1,
          temperature,
          maxNewTokens: MAX_NEW_TOKENS,
          seed: sampleSeed(seed, i),
        }))
        const correct: boolean[] = []
        for await (const sample of generator.sample(requests, signal ? { signal } : {})) {
          const { answer } = questions[sample.requestIndex]!
          correct[sample.requestIndex] = statedAnswer(sample.completion) === answer
        }
        all.push({ set, model, temperature, correct })
      }
    }
    return all
  } finally {
    await generator.close()
  }
}

function scoresOf(answers: readonly Answers[]): RlScore[] {
  const groups = new Map<string, Answers[]>()
  for (const one of answers) {
    const key = [one.set, one.model, one.temperature].join(" ")
    groups.set(key, [...(groups.get(key) ?? []), one])
  }
  return [...groups.values()].map((group) => {
    const { set, model, temperature, correct } = group[0]!
    const outcomes = correct.map((_, i) => group.map((one) => one.correct[i]!))
    return {
      ...{ set, model, temperature, outcomes },
      score: averageAtN(outcomes),
      ci95: bootstrapInterval(outcomes),
      perSeed: group.map((one) => averageAtN(one.correct.map((right) => [right]))),
      problems: outcomes.length,
    }
  })
}

export function findRlScore(
  scores: readonly RlScore[],
  where: Pick<RlScore, "set" | "model" | "temperature">,
): RlScore | undefined {
  return scores.find(
    ({ set, model, temperature }) =>
      set === where.set && model === where.model && temperature === where.temperature,
  )
}

/** GRPO minus another model on the same problems. */
export function grpoMinus(
  scores: readonly RlScore[],
  model: Exclude<RlModel, "grpo">,
  where: Pick<RlScore, "set" | "temperature">,
): Difference {
  const of = (name: RlModel) => {
    const found = findRlScore(scores, { ...where, model: name })
    return new Map((found?.outcomes ?? []).map((outcomes, i) => [String(i), outcomes]))
  }
  return pairedDifference(of(model), of("grpo"))
}
