/** What may stand under `data`. */
import { z } from "zod"
import { count, seed } from "./number-fields.ts"
import { objective } from "./objective-fields.ts"

export const FORMATS = [
  "auto",
  "messages",
  "prompt-completion",
  "alpaca",
  "sharegpt",
  "problem-solution",
  "text",
  "preference",
  "unpaired",
] as const
/** Names of `data.columns`. */
const COLUMN_NAMES = [
  "prompt",
  "completion",
  "response",
  "messages",
  "conversations",
  "text",
  "system",
  "context",
  "history",
  "tools",
  "problem",
  "solution",
  "question",
  "answer",
  "query",
  "instruction",
  "input",
  "output",
  "chosen",
  "rejected",
  "label",
  "correct",
  "row_weight",
  "weight",
  "train",
  "loss",
  "chat_template_kwargs",
  "token_ids",
  "finish_reason",
  "images",
] as const
const SUPERVISE = ["completions", "last", "all"] as const

const sourceFields = z.strictObject({
  path: z
    .string()
    .min(1)
    .describe(
      "A file, a glob, or a Hugging Face data set id. .jsonl, .json, .csv, .parquet; .gz and .zst of the text formats.",
    ),
  name: z.string().min(1).describe("Configuration (subset) of a hub data set.").optional(),
  split: z.string().min(1).describe('Split of a hub data set; "train" when left out.').optional(),
  weight: z
    .number()
    .min(0)
    .max(1000)
    .describe(
      "How often each of its rows is seen in an epoch; 0.5 sees half of them, 2 sees each twice.",
    )
    .default(1),
  max_rows: count
    .describe("Use only this many rows: the first, or a seeded choice with shuffle_seed.")
    .optional(),
  shuffle_seed: seed
    .describe("Choose max_rows rows at random with this seed, not the first ones.")
    .optional(),
})
const NOISES = ["wrong-answers", "wrong-steps", "swapped-labels"] as const

const noise = z
  .strictObject({
    kind: z
      .enum(NOISES)
      .describe(
        "wrong-answers: another final number. wrong-steps: another result on the way, the rest as it was. swapped-labels: chosen and rejected exchanged, labels turned round, or another row's answer.",
      ),
    share: z
      .number()
      .min(0)
      .max(1)
      .describe("How many of the rows, drawn one by one: 0.3 makes about 30 % of them wrong."),
    exact: z
      .boolean()
      .describe(
        "Not drawn one by one: the share, rounded, of the rows that can be made wrong. Reads the rows once more.",
      )
      .optional(),
    seed: seed.describe("Which rows, and how; the same seed always makes the same.").default(0),
  })
  .describe("Makes some rows wrong on purpose, to study what a method does with them.")

const trainSourceFields = sourceFields.extend({
  noise: noise.optional(),
  objective: objective
    .describe("An objective of its own for this source's rows, in place of the run's.")
    .optional(),
})
const pathAlone = z.string().min(1).describe("A path alone.")
const source = z.union([pathAlone, sourceFields])
const trainSource = z.union([pathAlone, trainSourceFields])

/** One source, or several. */
const trainSources = z.union([trainSource, z.array(trainSource).min(1)])

export const data = z
  .strictObject({
    train: trainSources.describe("Where the training rows come from: a path, or a list."),
    eval: z
      .union([source, z.array(source)])
      .describe("Rows whose loss is measured every eval_steps.")
      .default([]),
    eval_split: z
      .number()
      .min(0)
      .max(2 ** 40)
      .refine(
        (split) => split < 1 || Number.isInteger(split),
        "expected a share below 1, or a whole number of rows",
      )
      .describe(
        "Training rows held out by the seed when eval is empty: below 1 a share of them, from 1 on their number. Rows of one prompt stay on one side.",
      )
      .default(0),
    benchmarks: z
      .union([source, z.array(source)])
      .describe("Files of benchmark questions; training rows that ask one of them are warned of.")
      .default([]),
    decontaminate: z
      .strictObject({
        ngram: z
          .number()
          .int()
          .min(5)
          .max(100)
          .describe("Words in a row that a row and a benchmark must have in common.")
          .default(13),
        remove: z
          .boolean()
          .describe("true leaves such rows out; false only reports them.")
          .default(true),
      })
      .describe(
        "Leaves out the training rows that share words in a row with a question or an answer of data.benchmarks.",
      )
      .nullable()
      .default(null),
    near_duplicates: z
      .number()
      .min(0.5)
      .max(1)
      .describe(
        "Leaves out the training rows that are nearly an earlier one: this share of their runs of five words is the same (0.8 is usual).",
      )
      .nullable()
      .default(null),
    format: z
      .enum(FORMATS)
      .describe("The shape of the rows; auto tells it by their keys, row by row.")
      .default("auto"),
    max_length: z
      .number()
      .int()
      .min(2)
      .max(2 ** 24)
      .describe("Tokens of a row at most; longer rows are cut on the right.")
      .default(2048),
    packing: z
      .boolean()
      .describe("Put several rows side by side in one micro-batch; a token only sees its own row.")
      .default(true),
    supervise: z
      .enum(SUPERVISE)
      .describe("What is trained: every completion, the last one of each row, or all tokens.")
      .default("completions"),
    template: z
      .union([z.boolean(), z.string().min(1)])
      .describe(
        "Which texts go through the chat template. auto: questions (problem/solution, question/answer, query/response, input/output, alpaca) as one user turn, where the model has a template; prompt/completion and text as they are written. none (also null, false): no text. true: every text. A path of a .jinja file: that template, for every text. Messages always use one.",
      )
      .nullable()
      .default("auto"),
    columns: z
      .partialRecord(z.enum(COLUMN_NAMES), z.string().min(1).nullable())
      .describe(
        "What the file's columns are called: { question: q, answer: a } reads q and a. row_weight (or weight) names the column that says how often a row counts. null: the column of that name is not looked at.",
      )
      .default({}),
    on_long_pair: z
      .enum(["drop", "truncate"])
      .describe("A pair with an answer longer than max_length is left out, or cut on the right.")
      .default("drop"),
    implicit_prompt: z
      .boolean()
      .describe(
        "Pairs of texts without a prompt: what both begin with, up to white space, is the prompt.",
      )
      .default(false),
    image_max_pixels: count
      .describe(
        "Pictures of more pixels are made smaller before the model's processor sees them: fewer image tokens a row. null: as its processor has it.",
      )
      .nullable()
      .default(null),
    on_bad_row: z
      .enum(["error", "skip"])
      .describe(
        "A row that cannot be read stops the run before it starts, or is skipped and counted.",
      )
      .default("error"),
  })
  .describe("The rows, and how they become tokens.")

export type SourceConfig = z.output<typeof trainSourceFields>
export type NoiseConfig = z.output<typeof noise>
export type DataFormat = (typeof FORMATS)[number]
export type Supervise = (typeof SUPERVISE)[number]

/** What of the training rows is left out. */
export type LeaveOut = Pick<z.output<typeof data>, "decontaminate" | "near_duplicates"> & {
  readonly benchmarks: readonly SourceConfig[]
}

/** An entry of a list of sources. */
export type SourceEntry = z.output<typeof source>
