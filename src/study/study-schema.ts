/** What may stand in a STUDY.yaml. */
import { z } from "zod"
import { count, seed } from "../config/number-fields.ts"
import { MODES, PROMPT_STYLES } from "../evaluate/index.ts"

/** Names appear in tables, and folders are called by them. */
const name = z
  .string()
  .regex(/^[\w.+-]+( [\w.+-]+)*$/, "letters, digits, spaces and . _ + -")
  .regex(/[^.]/, "a name that is more than dots")
  .max(60)

const temperature = z.number().positive().max(100)
const decoding = z.union([z.literal("greedy"), temperature])
export type Decoding = z.output<typeof decoding>

const oneOrMore = <T extends z.ZodType>(entry: T) => z.union([entry, z.array(entry).min(1)])

const asked = {
  suite: z
    .string()
    .min(1)
    .describe("A benchmark by name (gsm8k, math500, ...), or a file of problems and answers."),
  suite_dir: z
    .string()
    .min(1)
    .describe("Folder with the suites' files; the hub without.")
    .optional(),
  limit: count.describe("Only the first problems.").optional(),
  n: count.describe("Samples of each problem at each temperature; greedy takes one.").default(1),
  max_new_tokens: count.describe("Longest completion.").default(512),
  prompt: z
    .enum(PROMPT_STYLES)
    .describe("How a problem is put; auto: as the model's rows were.")
    .default("auto"),
  mode: z.enum(MODES).describe("How answers are judged.").default("lenient"),
  stop: z.array(z.string().min(1)).describe("Texts that end a completion.").default([]),
}

const evaluation = z.strictObject({
  name: name.describe("What tables and contrasts call it."),
  ...asked,
  decodings: z
    .array(decoding)
    .min(1)
    .describe("greedy, or temperatures to sample at.")
    .default([1, "greedy"]),
})
export type Evaluation = z.output<typeof evaluation>

const losses = z.strictObject({
  name: name.describe("What tables and contrasts call it."),
  data: oneOrMore(z.string().min(1)).describe("Files of rows whose NLL is measured."),
  max_rows: count.describe("Only the first rows of each file.").optional(),
  max_length: count.describe("Rows are cut there.").default(512),
})
export type Losses = z.output<typeof losses>

const choose = z
  .strictObject({
    axes: oneOrMore(z.string().min(1)).describe("The axes whose values are chosen, for each arm."),
    ...asked,
    decoding: decoding.describe("What the choice goes by.").default("greedy"),
    seeds: z
      .array(seed)
      .min(1)
      .describe("Seeds of the runs that the choice is made on; left out: one that no result uses.")
      .optional(),
  })
  .describe(
    "Values chosen on validation problems, for each arm by itself; the problems must not be those of an evaluation.",
  )
export type Choose = z.output<typeof choose>

/** Whatever a value of an axis is called: a hub id, an objective with its parameters. */
const arm = z.string().min(1)

const contrast = z.strictObject({
  a: arm.describe("An arm, or base."),
  b: arm.describe("The arm it is compared with: a minus b."),
  on: oneOrMore(name).describe("Evaluations or losses, by name."),
  at: oneOrMore(decoding).describe("Decodings; left out: all of the evaluation.").optional(),
  b_at: decoding.describe("b at another decoding: base at 0.7 as a control.").optional(),
})

const assume = z
  .strictObject({
    score: z.number().min(0).max(1).describe("Share of right answers.").default(0.4),
    spread: z
      .number()
      .min(0)
      .max(0.5)
      .describe("Standard deviation over problems of the chance to be right.")
      .default(0.3),
    problem_effect: z
      .number()
      .min(0)
      .max(0.5)
      .describe("Standard deviation over problems of the difference between two arms.")
      .default(0.1),
    seed_effect: z
      .number()
      .min(0)
      .max(0.5)
      .describe("Standard deviation of an arm's score over training seeds.")
      .default(0.02),
  })
  .describe("What --plan assumes to say how small a difference can be shown.")

const server = z
  .strictObject({
    command: z
      .array(z.string())
      .min(1)
      .describe(
        "The program and its arguments, with {model}, {base} (under an adapter) and {port}: [vllm, serve, '{model}', --port, '{port}', --served-model-name, model].",
      ),
    name: z.string().min(1).describe("What the server calls the model.").default("model"),
    ready_seconds: count.describe("How long it may take to load a model.").default(600),
    concurrency: count.describe("Requests under way at once.").default(64),
  })
  .describe("Asks models through an OpenAI-compatible server, started here for each of them.")
export type ServerFields = z.output<typeof server>

export const studyFields = z
  .strictObject({
    name: name.optional(),
    about: z.string().describe("What is asked, for the report.").default(""),
    limits: z.string().describe("What it cannot show, for the report.").default(""),
    config: z
      .union([z.string().min(1), z.record(z.string(), z.unknown())])
      .describe("The config that all runs share: a path, or the config itself."),
    axes: z
      .record(z.string().min(1), z.array(z.unknown()).min(1))
      .describe(
        "Settings by key path and the values they take. Every combination is a run; those of one seed axis are one arm. A value { as, set: { key.path: value } } sets several keys under a name.",
      ),
    base: z
      .union([z.literal(false), z.strictObject({ temperatures: z.array(temperature) })])
      .describe("The model as it is before training, also at these temperatures; false: not asked.")
      .default({ temperatures: [] }),
    choose: choose.optional(),
    evaluations: z.array(evaluation).min(1).describe("What each trained model is asked."),
    losses: z.array(losses).describe("Rows whose NLL says what a model forgot.").default([]),
    contrasts: z
      .array(contrast)
      .describe("The comparisons that the study is made for; one named after results is marked so.")
      .default([]),
    assume: assume.prefault({}),
    server: server.optional(),
    slurm: z
      .strictObject({
        sbatch: z
          .record(z.string(), z.union([z.string(), z.number()]))
          .describe("Options of sbatch for every run: partition, time, gpus, cpus-per-task, mem.")
          .default({}),
        at_once: count.describe("Runs of the array at one time; left out: all.").optional(),
      })
      .describe("What --slurm writes its job files with.")
      .prefault({}),
    keep_models: z
      .boolean()
      .describe("Keep every run's model and checkpoints after it has been asked.")
      .default(true),
    output_dir: z.string().min(1).describe("The study's folder.").optional(),
  })
  .describe("A dftune study.")

export type StudyFields = z.output<typeof studyFields>
