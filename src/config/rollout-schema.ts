/** What may stand under `rollout`. */
import { z } from "zod"
import { IMPORTANCE } from "../objectives/importance.ts"
import { REWARDS } from "../rewards/declared.ts"
import { count, positive } from "./number-fields.ts"

const inWords = Object.entries(REWARDS).map(([name, { meaning }]) => `${name}: ${meaning}`)

/** Of each entry the keys of all kinds; which fit which, `rewardProblems` says. */
const rewardFields = z
  .strictObject({
    name: z
      .string()
      .min(1)
      .describe(`A reward of dftune. ${inWords.join("; ")}.`)
      .optional(),
    module: z
      .string()
      .min(1)
      .describe(
        "A TypeScript or JavaScript file whose function gets { prompt, completion, token_ids, finish_reason, row } and returns a number, null, or a promise of one; its export `batch` gets a list.",
      )
      .optional(),
    model: z
      .string()
      .min(1)
      .describe(
        "A reward model (objective: reward, or a ...ForSequenceClassification of one label): a folder, a run or a hub id.",
      )
      .optional(),
    url: z
      .url({ protocol: /^https?$/ })
      .describe("A server that takes { samples } and answers { rewards }.")
      .optional(),
    weight: z.number().min(-1e6).max(1e6).describe("Factor of it in the sum.").default(1),
    export: z.string().min(1).describe("The module's function; default if left out.").optional(),
    timeout: positive.max(3600).describe("Seconds that a call may take; 10.").optional(),
    mode: z.string().describe("math: how answers are compared.").optional(),
    pattern: z.string().min(1).describe("format: a regular expression.").optional(),
    buffer: count.describe("overlong: tokens before the limit where it begins.").optional(),
    n: count.describe("repetition: tokens of a run.").optional(),
    key: z
      .string()
      .min(1)
      .describe("exact: the row's field with the gold answer. unit-tests: with the tests; tests.")
      .optional(),
    score: z
      .string()
      .describe("unit-tests: all (1 for all tests or 0) or share (that pass).")
      .optional(),
    prompt: z.string().min(1).describe("self-score: how the policy is asked to judge.").optional(),
    scale: positive.describe("self-score: the best score; 10.").optional(),
    reply: count.describe("self-score: tokens of its reply; 16.").optional(),
    language: z
      .string()
      .describe("unit-tests: of the programs, javascript or python; javascript.")
      .optional(),
    seconds: positive.describe("unit-tests: that a program may take; 10.").optional(),
  })
  .describe("A reward: its name, a module of your own, a reward model, or a server.")

const replayFields = z
  .strictObject({
    keep: z
      .number()
      .min(0)
      .max(1e6)
      .describe("Least |advantage| of a sample that is kept.")
      .default(1),
    every: count.describe("Rollouts from one replay to the next.").default(5),
    max: count
      .nullable()
      .describe("Samples kept at most, the newest; left out: twice batch_size.")
      .default(null),
  })
  .describe("Which samples are trained on once more, and when.")

const exploreFields = z
  .strictObject({
    samples: count.max(1024).describe("More samples of each hard prompt.").default(20),
    temperature: positive.max(100).describe("Of these samples.").default(1.2),
    keep: z
      .number()
      .min(0)
      .max(1e6)
      .describe(
        "Least |advantage| of a sample that is trained, in groups that were asked for more.",
      )
      .default(1),
  })
  .describe("How prompts are asked once more that no sample solved.")

const environmentFields = z
  .strictObject({
    module: z
      .string()
      .min(1)
      .describe(
        "A TypeScript or JavaScript file whose function gets { messages, completion, row, turn } and returns the next message ({ role, content }), null to end, or a promise of one.",
      ),
    export: z.string().min(1).describe("The module's function.").default("default"),
    timeout: positive.max(3600).describe("Seconds that a call may take.").default(10),
    max_turns: z
      .number()
      .int()
      .min(1)
      .max(1000)
      .describe("Answers of the model at most.")
      .default(4),
  })
  .describe("Whom the model talks with.")

const share = z.number().min(0).max(1)
const prefixFields = z
  .strictObject({
    samples: z
      .number()
      .int()
      .min(0)
      .max(1024)
      .describe("Samples of each prompt that go on from its demonstration.")
      .default(1),
    low_start: share
      .describe("Least share of the demonstration that is given, at the start of the run.")
      .default(0.95),
    low_end: share.describe("The same at its end; a half of a cosine lies between.").default(0.05),
    high: share
      .describe("Largest share that is given; one token at least is left to sample.")
      .default(0.95),
  })
  .describe("How much of a demonstration begins a sample.")

const syncFields = z.union([
  z
    .string()
    .min(1)
    .describe(
      "A shell command; DFTUNE_MODEL is the folder that was written, DFTUNE_ROLLOUT the number of the rollout.",
    ),
  z
    .strictObject({
      folder: z.string().min(1).describe("Where the server reads its model from: it is replaced."),
    })
    .describe("A folder that the server looks at by itself (dftune serve --model FOLDER)."),
  z
    .strictObject({
      url: z.url({ protocol: /^https?$/ }).describe("Where a POST tells the server."),
      body: z
        .record(z.string(), z.unknown())
        .describe(
          "Its JSON; {path}, {rollout} and {model} in texts stand for the folder, the number of the rollout and the model's name.",
        )
        .default({ lora_name: "{model}", lora_path: "{path}", load_inplace: true }),
    })
    .describe("A request to the server; as it stands, vLLM's load_lora_adapter."),
])

const endpointSource = z
  .strictObject({
    endpoint: z
      .url({ protocol: /^https?$/ })
      .describe("An OpenAI-compatible server, with or without /v1."),
    model: z.string().min(1).describe("The model's name there."),
    api_key_env: z
      .string()
      .min(1)
      .nullable()
      .describe("The environment variable that holds its key; left out: none is sent.")
      .default(null),
    sync: syncFields.describe("How the server gets the weights before each rollout."),
  })
  .describe("A server that samples: it must tell token ids and log-probabilities.")

const reward = z.union([z.string().min(1).describe("A reward's name alone."), rewardFields])

const BASELINES = ["group", "leave-one-out", "whiten", "none"] as const

export const rolloutFields = z
  .strictObject({
    num_generations: z.number().int().min(1).max(1024).describe("Samples a prompt.").default(8),
    prompts: count
      .nullable()
      .describe(
        "Prompts of a rollout; left out: batch_size / num_generations, an optimizer step a rollout and iteration.",
      )
      .default(null),
    num_iterations: z
      .number()
      .int()
      .min(1)
      .max(64)
      .describe("Passes over the samples of a rollout.")
      .default(1),
    temperature: z
      .number()
      .min(0)
      .max(100)
      .describe("Of sampling; training measures probabilities at the same.")
      .default(1),
    top_p: z
      .number()
      .gt(0)
      .max(1)
      .describe("Only the most likely tokens up to this mass.")
      .default(1),
    top_k: z.number().int().min(0).describe("Only the k most likely tokens; 0: all.").default(0),
    max_new_tokens: count.describe("Tokens of a sample at most.").default(512),
    stop: z.array(z.string().min(1)).max(16).describe("Texts that end a sample.").default([]),
    rewards: z
      .array(reward)
      .max(16)
      .nullable()
      .describe(
        "What samples are rewarded for: the sum of these, each times its weight. Left out: math; of distill and self-distill, which learn without, none.",
      )
      .default(null),
    advantage: z
      .enum(BASELINES)
      .nullable()
      .describe(
        "What a reward is compared with: the mean of its group, that of the others in it, nothing (then brought to mean 0 and variance 1 over all tokens), or nothing at all. Left out: as the objective has it.",
      )
      .default(null),
    scale_rewards: z
      .enum(["group", "batch", "none"])
      .nullable()
      .describe(
        "What advantages are divided by: the deviation of the group, that of the rollout, nothing. Left out: as the objective has it.",
      )
      .default(null),
    filter_groups: z
      .enum(["none", "drop", "resample"])
      .nullable()
      .describe(
        "What becomes of groups whose rewards are all equal: none trains them with advantage 0, drop leaves them out, resample samples other prompts in their place. Left out: drop; dapo: resample.",
      )
      .default(null),
    max_resamples: count.describe("Times that other prompts are asked for.").default(10),
    mask_truncated_completions: z
      .boolean()
      .describe("Samples cut at max_new_tokens are not trained, nor counted in the divisor.")
      .default(false),
    importance: z
      .enum(IMPORTANCE)
      .nullable()
      .describe(
        "What makes up for the sampler's probabilities being others than training's; left out: none.",
      )
      .default(null),
    importance_cap: positive.describe("The largest importance weight.").default(2),
    kl_in_reward: z
      .number()
      .min(0)
      .max(1e3)
      .describe("Times ln pi - ln pi_ref of the sample, taken off its reward.")
      .default(0),
    demonstrations: z
      .number()
      .int()
      .min(0)
      .max(1)
      .nullable()
      .describe(
        "Demonstrations beside the samples of each prompt: the answer in the prompt's own row. Left out: 1 for objectives that mix them in (luffy-rl, dft-rl, ...), else 0.",
      )
      .default(null),
    prefix: prefixFields
      .nullable()
      .describe(
        "Of prefix-rft: samples that go on from the beginning of the prompt's demonstration. Left out: one of each prompt.",
      )
      .default(null),
    replay: replayFields
      .nullable()
      .describe(
        "Samples that told most are trained on once more, with the log-probabilities they were drawn with (EFRame); left out: none is.",
      )
      .default(null),
    explore: exploreFields
      .nullable()
      .describe(
        "Prompts that no sample solved are asked for more, at a higher temperature (EFRame); left out: none is.",
      )
      .default(null),
    environment: environmentFields
      .nullable()
      .describe("Samples of several turns: what answers the model. Left out: one answer each.")
      .default(null),
    source: z
      .union([z.literal("local"), endpointSource])
      .describe("Who samples: the engine that trains, or a server.")
      .default("local"),
    max_staleness: z
      .number()
      .int()
      .min(0)
      .max(1e6)
      .describe(
        "Of a server that samples: optimizer steps that may lie between the weights that draw a rollout and those that it trains; above 0 the next rollout is drawn while this one is trained.",
      )
      .default(0),
    eval_samples: z
      .number()
      .int()
      .min(1)
      .max(1024)
      .describe(
        "Answers to each prompt of data.eval: 1 is greedy; more are drawn at the temperature, and pass@k is told too.",
      )
      .default(1),
    keep: z
      .enum(["none", "last", "all"])
      .describe("Whose samples rollouts.jsonl holds: of no rollout, the last, or all.")
      .default("last"),
  })
  .describe("How samples are made and rewarded, for objectives on samples.")

/** What `rollout.prefix` is where an objective needs it and the config does not say. */
export const PREFIX = prefixFields.parse({})

export type RolloutFields = z.output<typeof rolloutFields>
export type EndpointSourceConfig = z.output<typeof endpointSource>
export type RewardConfig = z.output<typeof rewardFields>
