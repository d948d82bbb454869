import { z } from "zod"
import { adapterFields } from "./adapter-schema.ts"
import { data } from "./data-schema.ts"
import { engine } from "./engine-schema.ts"
import { count, fraction, positive, seed } from "./number-fields.ts"
import { objective } from "./objective-fields.ts"
import { OPTIMIZERS, optimizerNamed } from "./optimizer-names.ts"
import { rolloutFields } from "./rollout-schema.ts"
import { LR_SCHEDULERS, scheduleFields } from "./schedule-schema.ts"
import { teacherField } from "./teacher-schema.ts"

export { adapterFields } from "./adapter-schema.ts"
export * from "./data-schema.ts"
export * from "./engine-schema.ts"
export * from "./objective-fields.ts"
export type { RewardConfig } from "./rollout-schema.ts"

/**
 * The one statement of every setting: its name, its meaning, its bounds and its default.
 * Names follow Hugging Face's trainers and PEFT wherever they have one.
 */

const newToken = z.strictObject({
  token: z.string().min(1).describe("Its text."),
  special: z
    .boolean()
    .describe(
      "Left out of text that is shown, and of the class of tokens whose weight keep_special holds at 1.",
    )
    .default(true),
})

const paramGroup = z.strictObject({
  params: z
    .string()
    .min(1)
    .describe(
      "A regular expression for a run of whole parts of their names: embed_tokens|lm_head.",
    ),
  learning_rate: positive.max(10).nullable().describe("Their peak. null: the run's.").default(null),
  weight_decay: z.number().min(0).nullable().describe("Theirs. null: the run's.").default(null),
})

const forgettingFields = z
  .strictObject({
    texts: z
      .string()
      .min(1)
      .nullable()
      .describe("A file of texts or rows that the run does not train on; all their tokens count.")
      .default(null),
    prompts: z
      .number()
      .int()
      .min(0)
      .max(10_000)
      .describe("Training prompts whose greedy answers at the start are looked at again.")
      .default(16),
    max_new_tokens: count.describe("Tokens of such an answer at most.").default(64),
  })
  .describe(
    "What the run forgets: the NLL of texts, and of what the model answered at the start, at each evaluation.",
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

/** Where a run goes that does not say; of a config file see `outputFolder`. */
export const DEFAULT_OUTPUT_DIR = "runs/my-run"

/** One name is a list of one; Transformers' `none` is no tracker. */
const trackerList = (value: unknown) =>
  value == null || value === "none" ? [] : typeof value === "string" ? [value] : value

export const configFields = z
  .strictObject({
    model: z
      .string()
      .min(1)
      .describe(
        "A folder in Hugging Face's layout, a GGUF file, or a hub id (owner/name, owner/name/FILE.gguf).",
      ),
    model_revision: z
      .string()
      .min(1)
      .describe("Branch, tag or commit of a hub id.")
      .default("main"),
    model_tokens: z
      .array(z.union([z.string().min(1), newToken]))
      .describe(
        "Tokens that are added to the tokenizer. Their rows of the embedding and the head start as the mean of the others' and train: under an adapter both matrices are trained whole and saved with it.",
      )
      .default([]),
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
    lr_scheduler_kwargs: scheduleFields.nullable().default(null),
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
      .describe("The optimizer's own, on tensors of two or more dimensions.")
      .default(0.01),
    optimizer: z
      .preprocess(
        (value) => (typeof value === "string" ? (optimizerNamed(value) ?? value) : value),
        z.enum(OPTIMIZERS),
      )
      .describe(
        "adamw-8bit: moments take a byte a number, in blocks of 256 with a scale each (bitsandbytes' scheme); small tensors keep float32. lion: one moment, and every weight changes by learning_rate; its paper takes 3 to 10 times less than AdamW's, with as much more weight_decay. adafactor: rows and columns stand for the second moment, no first one. muon: changes of the layers' matrices are made orthogonal and as large as AdamW's, which takes all else.",
      )
      .default("adamw"),
    adam_beta1: z
      .number()
      .min(0)
      .lt(1)
      .describe("Decay of the first moment; of lion, the share of it in the change.")
      .default(0.9),
    adam_beta2: z
      .number()
      .min(0)
      .lt(1)
      .describe("Decay of the second moment; of lion, of its only one (its paper: 0.99).")
      .default(0.95),
    adam_epsilon: positive.describe("Added to AdamW's denominator.").default(1e-8),
    muon_momentum: z
      .number()
      .min(0)
      .lt(1)
      .describe("Decay of Muon's momentum (Nesterov's).")
      .default(0.95),
    ema_decay: z
      .number()
      .gt(0)
      .lt(1)
      .nullable()
      .describe(
        "An exponential moving average of the weights with this decay (0.999). Evaluations, samples and the result are the average's; training goes on with the weights. null: none.",
      )
      .default(null),
    param_groups: z
      .array(paramGroup)
      .describe(
        "Settings of their own for some tensors: the first group that names one counts. Rates follow the schedule.",
      )
      .default([]),
    vision_tower: z
      .enum(["frozen", "trained"])
      .describe(
        "Of a model of vision and language: whether what makes embeddings of pictures (tower and projector) trains too, or has an adapter too.",
      )
      .default("frozen"),
    freeze: z
      .array(z.string().min(1))
      .describe(
        "Tensors that a full fine-tune leaves as they are: regular expressions for a run of whole parts of their names, such as embed_tokens, layers.[0-3], mlp.",
      )
      .default([]),
    max_grad_norm: z
      .number()
      .min(0)
      .describe("Gradients are clipped to this global norm; 0 does not clip.")
      .default(1),
    batch_size: count.describe("Sequences per optimizer step, all workers together.").default(256),
    router_aux_loss_coef: z
      .number()
      .min(0)
      .max(10)
      .nullable()
      .describe(
        "Weight of the routers' auxiliary loss in a mixture of experts, told as aux_loss. null: what the checkpoint's config says (output_router_logits, router_aux_loss_coef); 0: off.",
      )
      .default(null),
    micro_batch_tokens: z
      .union([z.literal("auto"), count])
      .describe(
        `Tokens computed at once: rows are packed up to it. auto: the local engine takes as few as cost no time (256 to 1024, by the model's size; of pairs up to 1024 where they are longer), the torch engine ${MICRO_BATCH_TOKENS} on a CPU and up to 16384 on a GPU, by its memory; a longer row is alone; normalization: paper takes ${MICRO_BATCH_TOKENS}, or data.max_length if that is more.`,
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
    report_to: z
      .preprocess(trackerList, z.array(z.enum(["tensorboard", "wandb", "mlflow", "trackio"])))
      .describe(
        "Trackers that are told of the run (docs/events.md): scalars in output_dir/tensorboard, a server of MLflow, the Python packages wandb and trackio. Addresses and keys come from the environment. A tracker that fails is a warning; the run goes on.",
      )
      .default([]),
    rollout: rolloutFields.nullable().default(null),
    forgetting: forgettingFields.nullable().default(null),
    teacher: teacherField,
    reference: z
      .string()
      .min(1)
      .nullable()
      .describe(
        "Another frozen model that objectives compare with (a Hugging Face folder, a GGUF file or a hub id, with the model's own tokenizer); left out: the model as the run begins.",
      )
      .default(null),
    on_nonfinite: z
      .enum(["stop", "skip"])
      .describe(
        "A loss or gradient that is NaN or infinite stops the run (the last good checkpoint stays), or skips the step and counts it.",
      )
      .default("stop"),
    neftune_noise_alpha: positive
      .nullable()
      .describe(
        "NEFTune: while training, embeddings get uniform noise within this / sqrt(tokens of the row x hidden size); 5 is usual. Not where log-probabilities are compared.",
      )
      .default(null),
    load_best_model_at_end: z
      .boolean()
      .describe("The result is the model of the best evaluation, of which a checkpoint is kept.")
      .default(false),
    metric_for_best_model: z
      .string()
      .min(1)
      .describe(
        "The number of an eval event that says which is best: loss, nll, mean_p, ...; SET.loss is that of one set, else the first counts. eval_ before it may stand or not.",
      )
      .default("loss"),
    greater_is_better: z
      .boolean()
      .nullable()
      .describe("Whether more is better. null: unless it is nll or ends in loss.")
      .default(null),
    early_stopping_patience: count
      .nullable()
      .describe(
        "The run ends after this many evaluations in a row that were no better. null: never.",
      )
      .default(null),
    early_stopping_threshold: z
      .number()
      .min(0)
      .describe("How much better an evaluation must be, not to count as waiting.")
      .default(0),
    recompute: z
      .enum(["auto", "always", "never"])
      .describe(
        "Recompute each block's activations in the backward pass, or keep them; auto decides by memory.",
      )
      .default("auto"),
    gradient_checkpointing: z
      .boolean()
      .nullable()
      .describe(
        "Transformers' name for it: true is recompute: always, false recompute: never. null: as recompute says.",
      )
      .default(null),
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
    output_dir: z
      .string()
      .min(1)
      .describe(
        "The run folder. Left out in a config file: the first of runs/my-run, runs/my-run-2, ... after those that hold a run; resume and overwrite_output_dir then mean the newest.",
      )
      .default(DEFAULT_OUTPUT_DIR),
  })
  .describe("The config of a dftune run.")

/** What a user may write. */
export type ConfigInput = z.input<typeof configFields>
export type Parsed = z.output<typeof configFields>

export type AdapterConfig = z.output<typeof adapterFields>
export type NewTokenConfig = z.output<typeof newToken>
