import { z } from "zod"
import { positive } from "./number-fields.ts"

const moduleNames = z.union([z.string().min(1), z.array(z.string().min(1)).min(1)])

export const adapterFields = z
  .strictObject({
    type: z.literal("lora").describe("The kind of adapter.").default("lora"),
    path: z
      .string()
      .min(1)
      .nullable()
      .describe(
        "An adapter (a folder, or the run that made it) to go on training: its matrices, ranks, modules and scales. Only lora_dropout and loraplus_lr_ratio are the config's. null: a new one.",
      )
      .default(null),
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
    modules_to_save: z
      .array(z.string().min(1))
      .nullable()
      .describe(
        "Modules of the base that train whole beside the adapter and are saved with it, by the ends of their paths: embed_tokens, lm_head, norm. A tied head stays tied: either name trains both.",
      )
      .default(null),
    loraplus_lr_ratio: positive
      .nullable()
      .describe(
        "LoRA+: B (and DoRA's magnitudes) learn at this multiple of the learning rate (its paper: 16).",
      )
      .default(null),
    use_rslora: z
      .boolean()
      .describe("Rank-stabilised scaling: lora_alpha / sqrt(r).")
      .default(false),
    init_lora_weights: z
      .union([z.literal(true), z.literal("pissa")])
      .describe(
        "How it begins. true: A uniform, B zero. pissa: with the largest singular values of each matrix, which its base then lacks; saved as an adapter over the whole base, of twice the rank.",
      )
      .default(true),
    use_dora: z
      .boolean()
      .describe(
        "DoRA: each output of an adapted layer gets a magnitude of its own, which is trained too; A and B change directions.",
      )
      .default(false),
  })
  .describe("Trains a low-rank adapter and freezes the model. Left out: full fine-tuning.")
