import { z } from "zod"

/**
 * The one statement of every setting: its name, its meaning, its bounds and its default.
 * Names follow Hugging Face's trainers and PEFT wherever they have one.
 */

export const ENGINES = ["onnx", "torch"] as const
export type EngineName = (typeof ENGINES)[number]

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
export const LR_SCHEDULERS = ["cosine", "linear", "constant"] as const

const isScalar = (value: unknown) =>
  typeof value === "string" || typeof value === "boolean" || Number.isFinite(value)
const count = z
  .number()
  .int()
  .min(1)
  .max(2 ** 40)
const fraction = z.number().min(0).max(1)
const seed = z
  .number()
  .int()
  .min(0)
  .max(2 ** 32 - 1)
const positive = z.number().positive()

const moduleNames = z.union([z.string().min(1), z.array(z.string().min(1)).min(1)])

export const adapterFields = z
  .strictObject({
    type: z.literal("lora").describe("The kind of adapter.").default("lora"),
    r: z.number().int().min(1).max(4096).describe("Rank of the update.").default(8),
    lora_alpha: positive
      .describe(
        "The update is scaled by lora_alpha / r (by lora_alpha / sqrt(r) under use_rslora).",
      )
      .default(16),
    lora_dropout: z
      .number()
      .min(0)
      .lt(1)
      .describe("Dropout probability on the adapter's input.")
      .default(0),
    target_modules: z
      .union([z.literal("all-linear"), moduleNames])
      .describe(
        '"all-linear" (every linear layer but the head), names such as q_proj, down_proj, or one regular expression for whole paths.',
      )
      .default("all-linear"),
    exclude_modules: moduleNames
      .nullable()
      .describe("Modules without an adapter, named as in target_modules. null: none.")
      .default(null),
    layers_to_transform: z
      .array(z.number().int().min(0))
      .min(1)
      .nullable()
      .describe("Layers that get an adapter, from 0. null: all.")
      .default(null),
    rank_pattern: z
      .record(z.string(), z.number().int().min(1).max(4096))
      .describe("Ranks of their own, by the end of a module's path (a regular expression).")
      .default({}),
    alpha_pattern: z
      .record(z.string(), positive)
      .describe("lora_alpha of their own, likewise.")
      .default({}),
    use_rslora: z
      .boolean()
      .describe("Rank-stabilised scaling: lora_alpha / sqrt(r).")
      .default(false),
  })
  .describe("Trains a low-rank adapter and freezes the model. Left out: full fine-tuning.")

export const expression = z
  .looseObject({
    version: z.union([z.literal(1), z.literal(2)]),
    nodes: z.array(z.record(z.string(), z.unknown())).min(1).max(1000),
    output: z.number().int().min(0),
    value: z.number().int().min(0).optional(),
    measures: z.record(z.string(), z.number().int().min(0)).optional(),
  })
  .describe("A user's own objective as an expression (docs/architecture.md, seam 2).")

/** Of what kind each key is; what may stand beside a name, and its bounds, `objectiveProblems` says. */
export const objectiveFields = z
  .object({
    name: z.string().min(1),
    normalization: z.string().optional(),
    weight_floor: fraction.optional(),
    weight_ceiling: positive.optional(),
    ramp: z.strictObject({ start: fraction.default(0.2), end: fraction.default(0.3) }).optional(),
    keep_special: z.boolean().default(false),
    expression: expression.optional(),
  })
  // `unknown`, so that the type of the keys above does not have to fit it too
  .catchall(z.unknown().refine(isScalar, "a number, true, false or text"))
const objective = z.union([z.string().min(1), objectiveFields])

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

const data = z
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

export const onnxEngine = z.strictObject({
  name: z.literal("onnx").describe("The local engine: ONNX Runtime."),
  device: z.enum(["auto", "cpu", "webgpu"]).describe("Where it computes.").default("auto"),
  threads: z
    .union([z.literal("auto"), z.number().int().min(1).max(1024)])
    .describe("CPU threads; auto takes one a core.")
    .default("auto"),
  dtype: z
    .enum(["auto", "bf16", "fp32"])
    .describe(
      "What the factors of products are rounded to; sums, weights and moments are float32 either way. auto: bf16 where the CPU multiplies it and the model has 50 million parameters or more, else fp32.",
    )
    .default("auto"),
})
export const torchEngine = z.strictObject({
  name: z.literal("torch").describe("PyTorch FSDP2 under torchrun, for GPUs and clusters."),
  nproc_per_node: z
    .union([z.literal("auto"), z.number().int().min(1).max(1024)])
    .describe("Processes on each node; auto takes one a GPU.")
    .default("auto"),
  nnodes: z.number().int().min(1).max(10_000).describe("Nodes.").default(1),
  dtype: z
    .enum(["bf16", "fp32"])
    .describe("What it computes in; master weights are float32 either way.")
    .default("bf16"),
  launcher: z
    .enum(["torchrun", "slurm"])
    .describe("Start torchrun here, or write an sbatch file.")
    .default("torchrun"),
  python: z.string().min(1).describe("The Python that has PyTorch.").default("python3"),
  sbatch: z
    .record(z.string(), z.union([z.string(), z.number()]))
    .describe("Options of the sbatch file, e.g. { partition: gpu, time: 04:00:00 }.")
    .default({}),
})
const engine = z
  .union([z.enum(ENGINES), z.discriminatedUnion("name", [onnxEngine, torchEngine])])
  .describe(
    "What computes: onnx (this machine) or torch (GPUs and clusters), by name or with its options.",
  )

const generateSamples = z
  .strictObject({
    prompts: z
      .number()
      .int()
      .min(1)
      .max(1000)
      .describe("How many prompts, from the eval rows.")
      .default(4),
    every: count.describe("Optimizer steps between generations.").default(50),
    max_new_tokens: count.describe("Tokens of a sample at most.").default(256),
  })
  .describe("Generations made during the run, in samples.jsonl. Left out: none.")

/** Tokens of a micro-batch where the config leaves it out and the engine does not choose. */
export const MICRO_BATCH_TOKENS = 4096

const memory = z
  .union([z.literal("auto"), count, z.string().regex(/^\d+(\.\d+)? ?([KMGT]i?B|B)$/)])
  .describe('Memory the local engine may use: auto, bytes, or e.g. "12 GB".')

export const DEFAULT_WARMUP_RATIO = 0.1

export const configFields = z
  .strictObject({
    model: z.string().min(1).describe("A folder in Hugging Face's layout, or a hub id."),
    model_revision: z
      .string()
      .min(1)
      .describe("Branch, tag or commit of a hub id.")
      .default("main"),
    adapter: z
      .union([z.literal("lora"), adapterFields])
      .describe(
        "Trains a low-rank adapter and freezes the model: lora, or its settings. Left out: full fine-tuning.",
      )
      .nullable()
      .default(null),
    quantization: z
      .enum(["none", "int8", "int4"])
      .describe("How the frozen base under an adapter is kept.")
      .default("none"),
    data,
    objective: objective.default("dft"),
    learning_rate: positive
      .max(10)
      .nullable()
      .describe(
        "Peak learning rate. Left out: 5e-5; for objectives on pairs, labels and samples 1e-6, or 1e-5 with an adapter.",
      )
      .default(null),
    lr_scheduler: z.enum(LR_SCHEDULERS).describe("Shape after the warmup.").default("cosine"),
    warmup_ratio: fraction
      .describe("Share of the steps that warm up linearly.")
      .default(DEFAULT_WARMUP_RATIO),
    warmup_steps: z
      .number()
      .int()
      .min(0)
      .describe("Steps that warm up, in place of warmup_ratio.")
      .nullable()
      .default(null),
    weight_decay: z
      .number()
      .min(0)
      .describe("AdamW's, on tensors of two or more dimensions.")
      .default(0.01),
    optimizer: z
      .preprocess(
        (value) => (value === "adamw_8bit" ? "adamw-8bit" : value),
        z.enum(["adamw", "adamw-8bit"]),
      )
      .describe(
        "adamw-8bit: moments take a byte a number, in blocks of 256 with a scale each (bitsandbytes' scheme); small tensors keep float32.",
      )
      .default("adamw"),
    adam_beta1: z.number().min(0).lt(1).describe("Decay of the first moment.").default(0.9),
    adam_beta2: z.number().min(0).lt(1).describe("Decay of the second moment.").default(0.95),
    adam_epsilon: positive.describe("Added to the denominator.").default(1e-8),
    max_grad_norm: z
      .number()
      .min(0)
      .describe("Gradients are clipped to this global norm; 0 does not clip.")
      .default(1),
    batch_size: count.describe("Sequences per optimizer step, all workers together.").default(256),
    micro_batch_tokens: z
      .union([z.literal("auto"), count])
      .describe(
        `Tokens computed at once: rows are packed up to it. auto: the local engine takes as few as cost no time (256 to 1024, by the model's size), the torch engine ${MICRO_BATCH_TOKENS} on a CPU and up to 16384 on a GPU, by its memory; a longer row is alone; normalization: paper takes ${MICRO_BATCH_TOKENS}, or data.max_length if that is more.`,
      )
      .default("auto"),
    num_train_epochs: positive
      .nullable()
      .describe("Passes over the training rows; 1 unless max_steps is given.")
      .default(null),
    max_steps: count
      .nullable()
      .describe("Optimizer steps, in place of num_train_epochs.")
      .default(null),
    seed: seed
      .describe("Seeds the order of the rows, the adapter's start, dropout and sampling.")
      .default(0),
    save_steps: z
      .number()
      .int()
      .min(0)
      .describe("Steps between checkpoints; 0 saves only the result.")
      .default(50),
    save_total_limit: z
      .number()
      .int()
      .min(1)
      .nullable()
      .describe("Checkpoints kept, the newest; null keeps all.")
      .default(3),
    eval_steps: z
      .number()
      .int()
      .min(0)
      .describe("Steps between evaluations; 0 evaluates only at the end.")
      .default(10),
    generate_samples: generateSamples.nullable().default(null),
    on_nonfinite: z
      .enum(["stop", "skip"])
      .describe(
        "A loss or gradient that is NaN or infinite stops the run (the last good checkpoint stays), or skips the step and counts it.",
      )
      .default("stop"),
    recompute: z
      .enum(["auto", "always", "never"])
      .describe(
        "Recompute each block's activations in the backward pass, or keep them; auto decides by memory.",
      )
      .default("auto"),
    device_memory: memory.default("auto"),
    engine: engine.default("onnx"),
    resume: z
      .union([z.boolean(), z.string().min(1)])
      .describe("Continue output_dir's newest checkpoint, or the checkpoint at this path.")
      .default(false),
    keep_rows: z
      .boolean()
      .describe(
        "With resume: go on with the rows that the run has, where this version of dftune makes others of the same files.",
      )
      .default(false),
    overwrite_output_dir: z
      .boolean()
      .describe("Start over where output_dir holds a run: what it wrote is removed, nothing else.")
      .default(false),
    output_dir: z.string().min(1).describe("The run folder.").default("runs/my-run"),
  })
  .describe("The config of a dftune run.")

/** What a user may write. */
export type ConfigInput = z.input<typeof configFields>
export type Parsed = z.output<typeof configFields>

export type SourceConfig = z.output<typeof trainSourceFields>
export type AdapterConfig = z.output<typeof adapterFields>
export type OnnxEngineConfig = z.output<typeof onnxEngine>
export type TorchEngineConfig = z.output<typeof torchEngine>
export type EngineConfig = OnnxEngineConfig | TorchEngineConfig
export type GenerateSamplesConfig = z.output<typeof generateSamples>
export type DataFormat = (typeof FORMATS)[number]
export type Supervise = (typeof SUPERVISE)[number]

/** `name`, the modifiers, and the objective's own parameters as further keys. */
export type ObjectiveConfig = z.output<typeof objectiveFields>

/** An entry of a list of sources. */
export type SourceEntry = z.output<typeof source>
