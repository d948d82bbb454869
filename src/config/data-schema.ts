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
] as const
/** Names of `data.columns`. */
export const COLUMN_NAMES = [
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
export const SUPERVISE = ["completions", "last", "all"] as const

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
const trainSourceFields = sourceFields.extend({
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
    on_bad_row: z
      .enum(["error", "skip"])
      .describe(
        "A row that cannot be read stops the run before it starts, or is skipped and counted.",
      )
      .default("error"),
  })
  .describe("The rows, and how they become tokens.")

export type SourceConfig = z.output<typeof trainSourceFields>
export type DataFormat = (typeof FORMATS)[number]
export type Supervise = (typeof SUPERVISE)[number]

/** An entry of a list of sources. */
export type SourceEntry = z.output<typeof source>
