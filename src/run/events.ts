/**
 * What a run says while it goes: one union for `events.jsonl`, `--json`, the library and the
 * dashboard. Field names are the public contract (snake_case, as in the files).
 */
interface EventBase {
  /** ISO 8601. */
  readonly time: string
  /** Optimizer steps done when the event happened; 0 before the first. */
  readonly step: number
}

export interface RunStart extends EventBase {
  readonly type: "run.start"
  readonly run_id: string
  /** The run folder's name. */
  readonly name?: string
  readonly engine: string
  readonly device: string
  /** What the factors of products are rounded to. */
  readonly dtype?: "bf16" | "fp32"
  readonly parameters: { readonly total: number; readonly trained: number }
  readonly supervised_tokens_per_epoch: number
  /** In words, for people: what the loss is divided by. */
  readonly normalization: string
  readonly steps: number
  readonly objective: string
  /** Of the training set, and how many make a step. */
  readonly rows?: number
  readonly batch_size?: number
  /** What the plan says that the run will hold, and what of it is free now; bytes. */
  readonly planned_memory_bytes?: number
  readonly free_memory_bytes?: number
  /** From here to the end, measured on a few layers before the run began. */
  readonly planned_seconds?: number
  readonly resumed_from?: string
}

/** Of rows of several files, by the file's name; of a step only of those that it took rows of. */
export interface SourceFields {
  readonly source_nll?: Readonly<Record<string, number>>
  readonly source_mean_p?: Readonly<Record<string, number>>
  /** Supervised tokens. */
  readonly source_tokens?: Readonly<Record<string, number>>
}

/**
 * Of losses of pairs and of labelled answers. Implicit rewards are beta times what the objective
 * compares of an answer (ln pi - ln pi_ref of DPO); log-probabilities are sums over an answer's
 * tokens.
 */
export interface PairFields {
  readonly reward_chosen?: number
  readonly reward_rejected?: number
  /** Mean over the pairs of chosen over rejected; of labels the difference of the means. */
  readonly reward_margin?: number
  /** Share of the pairs whose chosen side has the larger reward, strictly. */
  readonly reward_accuracy?: number
  readonly logp_chosen?: number
  readonly logp_rejected?: number
  /** Mean cross-entropy of the chosen answers' tokens, nats. */
  readonly nll_chosen?: number
  /** KTO's z0. */
  readonly kl_step?: number
}

export interface StepEvent extends EventBase, PairFields, SourceFields {
  readonly type: "step"
  /** The objective's value, normalised as the run says. */
  readonly loss: number
  /** Mean cross-entropy of the supervised tokens, nats, whatever the objective. */
  readonly nll: number
  readonly mean_p: number
  /** Pairs have neither this nor the next. */
  readonly mean_weight?: number
  /** (sum w)^2 / sum w^2 over the step's supervised tokens. */
  readonly effective_tokens?: number
  /** Mean entropy of the next-token distribution, nats. */
  readonly entropy: number
  readonly token_accuracy: number
  /** Mean probability of the end-of-turn targets; null when the step has none. */
  readonly eos_p: number | null
  /** Mean probability of the template's other targets; null when the step has none. */
  readonly special_p?: number | null
  /** Global norm before clipping. */
  readonly grad_norm: number
  readonly learning_rate: number
  readonly epoch: number
  /** Tokens seen since the start of the run. */
  readonly tokens: number
  readonly supervised_tokens: number
  readonly tokens_per_second: number
  readonly memory_bytes: number
  /** Mean KL(reference || policy) per token, when the objective has a reference. */
  readonly kl_ref?: number
  /**
   * Of the routers of a mixture of experts, where it is trained: before its weight, and no part of
   * `loss`.
   */
  readonly aux_loss?: number
  /** Of objectives on samples: pi / pi_old of the step's tokens. */
  readonly ratio?: { readonly mean: number; readonly max: number }
  /** Shares of the tokens that the clip keeps from moving, below and above. */
  readonly clip_low?: number
  readonly clip_high?: number
  /** Mean of ln pi_old - ln pi. */
  readonly policy_kl?: number
  /** Mean size of the advantages. */
  readonly advantage_abs?: number
  /** Means over the step's tokens of what else the objective measures, by its own names. */
  readonly measures?: Readonly<Record<string, number>>
}

interface Spread {
  readonly mean: number
  readonly std: number
}
interface Range {
  readonly mean: number
  readonly min: number
  readonly max: number
}

/** Samples of some prompts with their rewards, told before the steps that train on them. */
export interface RolloutEvent extends EventBase {
  readonly type: "rollout"
  /** From 0. */
  readonly rollout: number
  readonly prompts: number
  readonly sequences: number
  /** Sampled ones. */
  readonly tokens: number
  /** Mean and deviation over the samples that have a reward. */
  readonly reward: number
  readonly reward_std: number
  /** By the reward's name, before its weight. */
  readonly rewards: Readonly<Record<string, Spread>>
  /** Share of the groups whose rewards are all equal. */
  readonly zero_variance_groups: number
  /** Samples that no reward could judge. */
  readonly unscored: number
  /** Prompts asked in place of those whose rewards were all equal. */
  readonly resampled: number
  /** Sequences that are trained. */
  readonly trained: number
  /** Trained beside them. */
  readonly demonstrations?: number
  /**
   * Drawn of prompts that no first sample solved, and the share of those prompts whose rewards then
   * differed.
   */
  readonly explored?: number
  readonly explored_found?: number
  /** Tokens of demonstrations that samples went on from, of those that did. */
  readonly prefix_length?: Range
  /** Answers of the model in a sample, where there were several. */
  readonly turns?: Range
  readonly completion_length: Range
  /** Of the samples that ended by themselves. */
  readonly terminated_length: Range
  /** Share of the samples cut at max_new_tokens. */
  readonly truncated: number
  /** Mean over the trained samples' tokens, nats; null where none is trained. */
  readonly entropy: number | null
  /** |ln p| apart, of training and of the sampler, over the trained samples' tokens. */
  readonly logp_difference: { readonly mean: number; readonly max: number } | null
  /** Importance weights before they are cut, and the share that is cut. */
  readonly importance?: Range & { readonly cut: number }
  /**
   * Of a critic, before the rollout's first update: mean over the tokens, and of what it is to say.
   */
  readonly value?: number
  readonly value_target?: number
  /** 1 where the critic foresees all, 0 or less where nothing; null where all is alike. */
  readonly explained_variance?: number | null
  /** Optimizer steps done when it was sampled. */
  readonly policy_step: number
  /** Steps between then and its first update, where a server may sample ahead. */
  readonly staleness?: number
  /** Of sampling and grading. */
  readonly seconds: number
  /** What training waited for sampling. */
  readonly sampling_seconds?: number
  /** What rewards took beyond sampling, beside which they run. */
  readonly grading_seconds?: number
  /** Of log-probabilities by training's own graphs, the policy's and the reference's. */
  readonly measuring_seconds?: number
  readonly tokens_per_second: number
}

/** Samples of earlier rollouts that the next steps train on once more. */
export interface ReplayEvent extends EventBase {
  readonly type: "replay"
  readonly samples: number
  readonly tokens: number
  /** Mean over them. */
  readonly reward: number
  /** Optimizer steps since they were sampled. */
  readonly age: Range
}

export interface HistogramEvent extends EventBase {
  readonly type: "histogram"
  /** `train` is a step's own tokens; other names are evaluation sets. */
  readonly name: string
  /** Counts in [0, 0.1), [0.1, 0.2), ... [0.9, 1]. */
  readonly bins: readonly number[]
  /** Counts with p < 1e-4, 1e-3, 1e-2 (not cumulative: [0, 1e-4), [1e-4, 1e-3), [1e-3, 1e-2)). */
  readonly small_bins: readonly number[]
}

export interface EvalEvent extends EventBase, PairFields, SourceFields {
  readonly type: "eval"
  readonly name: string
  readonly nll?: number
  readonly loss?: number
  readonly mean_p?: number
  readonly score?: number
  readonly n?: number
  readonly ci95?: readonly [number, number]
  /** By k: how often one of k samples of a prompt passes. */
  readonly pass_at?: Readonly<Record<string, number>>
  /** NLL above what it was when the run began, nats a token (the forgetting check). */
  readonly nll_rise?: number
  /** Of `fp32/NAME` after a run in bf16: how far the NLL of NAME in bf16 is above. */
  readonly nll_gap?: number
  readonly supervised_tokens?: number
}

export interface SampleEvent extends EventBase {
  readonly type: "sample"
  readonly prompt: string
  readonly completion: string
  readonly tokens: readonly string[]
  readonly probabilities: readonly number[]
  /** What the row that the prompt comes from answers. */
  readonly reference?: string
  /** Of a rollout's sample: its reward, each reward, its advantage. */
  readonly reward?: number | null
  readonly rewards?: Readonly<Record<string, number | null>>
  readonly advantage?: number
  readonly finish_reason?: string
  /** What the factors of products were rounded to. */
  readonly dtype?: "bf16" | "fp32"
}

export interface CheckpointEvent extends EventBase {
  readonly type: "checkpoint"
  readonly path: string
}

export interface WarningEvent extends EventBase {
  readonly type: "warning"
  readonly code: string
  readonly message: string
  readonly hint: string
}

export interface RunEnd extends EventBase {
  readonly type: "run.end"
  readonly reason: "done" | "interrupted" | "failed"
  readonly message?: string
  readonly output?: string
  /** Of a run that samples: what part of its steps' time each took, from 0 to 1. */
  readonly time_shares?: TimeShares
}

export interface TimeShares {
  readonly sampling: number
  readonly grading: number
  readonly measuring: number
  readonly training: number
}

/** An event before it is stamped with its time. */
export type EventBody = RunEvent extends infer Event
  ? Event extends RunEvent
    ? Omit<Event, "time">
    : never
  : never

/** Told by those who follow a run, never written: what they told of later steps is overtaken. */
export interface ResetEvent extends EventBase {
  readonly type: "reset"
}

export type RunEvent =
  | RunStart
  | StepEvent
  | RolloutEvent
  | ReplayEvent
  | HistogramEvent
  | EvalEvent
  | SampleEvent
  | CheckpointEvent
  | WarningEvent
  | RunEnd
  | ResetEvent
