/**
 * What is drawn of a run, and how it is called: on the page and in the report. Runs in a browser
 * too.
 */
import { COUNTERS, type Columns, effectiveShare } from "./columns.ts"

export interface Measure {
  readonly title: string
  /** Columns, each with its label. */
  readonly columns: readonly (readonly [column: string, label: string])[]
  /** The field of evaluations that is drawn over it. */
  readonly evaluated?: EvaluatedField
  /** Drawn by powers of ten. */
  readonly log?: boolean
}

export type EvaluatedField =
  | "nll"
  | "mean_p"
  | "loss"
  | "score"
  | "nll_rise"
  | "reward_margin"
  | "reward_accuracy"

const STEP_MEASURES: readonly Measure[] = [
  { title: "NLL, nats a token", columns: [["nll", "training"]], evaluated: "nll" },
  { title: "Loss of the objective", columns: [["loss", "loss"]] },
  {
    title: "Mean probability of the targets",
    columns: [["mean_p", "training"]],
    evaluated: "mean_p",
  },
  { title: "Score of evaluations", columns: [], evaluated: "score" },
  { title: "NLL above that of the start, nats a token", columns: [], evaluated: "nll_rise" },
  { title: "Effective tokens, (Σw)² / Σw²", columns: [["effective_tokens", "effective tokens"]] },
  { title: "Effective tokens, share of the supervised", columns: [["effective_share", "share"]] },
  { title: "Mean weight", columns: [["mean_weight", "weight"]] },
  { title: "Entropy, nats", columns: [["entropy", "entropy"]] },
  {
    title: "Probability of ends of turns and of the template's tokens",
    columns: [
      ["eos_p", "ends of turns"],
      ["special_p", "template"],
    ],
    log: true,
  },
  { title: "Token accuracy", columns: [["token_accuracy", "accuracy"]] },
  { title: "Gradient norm before clipping", columns: [["grad_norm", "gradient norm"]] },
  { title: "Learning rate", columns: [["learning_rate", "learning rate"]] },
  { title: "KL to the reference, nats a token", columns: [["kl_ref", "KL"]] },
  { title: "Auxiliary loss of the routers", columns: [["aux_loss", "auxiliary loss"]] },
  {
    title: "Rewards of the chosen and the rejected",
    columns: [
      ["reward_chosen", "chosen"],
      ["reward_rejected", "rejected"],
    ],
  },
  {
    title: "Margin of the chosen over the rejected",
    columns: [["reward_margin", "training"]],
    evaluated: "reward_margin",
  },
  {
    title: "Pairs whose chosen side has the larger reward, share",
    columns: [["reward_accuracy", "training"]],
    evaluated: "reward_accuracy",
  },
  {
    title: "ln p of an answer, a sum over its tokens",
    columns: [
      ["logp_chosen", "chosen"],
      ["logp_rejected", "rejected"],
    ],
  },
  { title: "NLL of the chosen, nats a token", columns: [["nll_chosen", "NLL"]] },
  { title: "KTO's z0", columns: [["kl_step", "z0"]] },
  {
    title: "Tokens that the clip holds, share",
    columns: [
      ["clip_high", "above"],
      ["clip_low", "below"],
    ],
  },
  {
    title: "π / π_old of the step's tokens",
    columns: [
      ["ratio.mean", "mean"],
      ["ratio.max", "largest"],
    ],
  },
  { title: "ln π_old − ln π, mean", columns: [["policy_kl", "difference"]] },
  { title: "Size of the advantages, mean", columns: [["advantage_abs", "size"]] },
  { title: "Tokens a second", columns: [["tokens_per_second", "tokens/s"]] },
  { title: "Memory, bytes", columns: [["memory_bytes", "memory"]] },
]

const ROLLOUT_MEASURES: readonly Measure[] = [
  { title: "Reward of the samples, mean", columns: [["reward", "reward"]] },
  {
    title: "Groups whose rewards are all equal, share",
    columns: [["zero_variance_groups", "share"]],
  },
  {
    title: "Length of the samples, tokens",
    columns: [
      ["completion_length.mean", "mean"],
      ["terminated_length.mean", "of those that ended"],
      ["completion_length.max", "longest"],
    ],
  },
  { title: "Samples cut at the limit, share", columns: [["truncated", "share"]] },
  { title: "Entropy of the samples, nats", columns: [["entropy", "entropy"]] },
  {
    title: "ln p apart, sampler and training",
    columns: [
      ["logp_difference.mean", "mean"],
      ["logp_difference.max", "largest"],
    ],
  },
  { title: "Importance weights that are cut, share", columns: [["importance.cut", "share"]] },
  { title: "Steps between a rollout's weights and its use", columns: [["staleness", "steps"]] },
  {
    title: "Samples drawn more of prompts that none solved",
    columns: [["explored", "samples"]],
  },
  { title: "Of these prompts then told apart, share", columns: [["explored_found", "share"]] },
  {
    title: "The critic before a rollout's updates, mean",
    columns: [
      ["value", "says"],
      ["value_target", "is to say"],
    ],
  },
  { title: "Variance that the critic explains, share", columns: [["explained_variance", "share"]] },
  { title: "Turns of a sample", columns: [["turns.mean", "mean"]] },
  {
    title: "Time of a rollout, seconds",
    columns: [
      ["seconds", "sampling and grading"],
      ["sampling_seconds", "waited for sampling"],
      ["grading_seconds", "rewards beyond it"],
      ["measuring_seconds", "ln p by training's graphs"],
    ],
  },
  { title: "Sampled tokens a second", columns: [["tokens_per_second", "tokens/s"]] },
]

/** Columns whose name has a part of its own: a file, a reward, an objective's quantity. */
const NAMED: readonly (readonly [prefix: string, title: (name: string) => string])[] = [
  ["source_nll.", (file) => `NLL of ${file}`],
  ["source_mean_p.", (file) => `Mean probability of ${file}`],
  ["source_tokens.", (file) => `Supervised tokens of ${file}`],
  ["measures.", (name) => `${name}, mean over the step's tokens`],
]

/** Those of which there are numbers; columns that nobody named are drawn by their own names. */
export function stepMeasures(columns: Columns, evaluated: ReadonlySet<string>): Measure[] {
  const known = withDrawnLines(STEP_MEASURES, columns).filter(
    ({ columns, evaluated: field }) => columns.length > 0 || evaluated.has(field ?? ""),
  )
  const named = new Set(STEP_MEASURES.flatMap(({ columns }) => columns.map(([column]) => column)))
  const others = [...columns.keys()].filter(
    (column) => !named.has(column) && !COUNTERS.has(column) && isDrawn(columns, column),
  )
  return [...known, ...others.map((column) => ownMeasure(column))]
}

/** Of rollouts; with several rewards each has a chart of its own. */
export function rolloutMeasures(columns: Columns): Measure[] {
  const known = withDrawnLines(ROLLOUT_MEASURES, columns).filter(
    (measure) => measure.columns.length > 0,
  )
  const rewards = [...columns.keys()].filter((column) => column.startsWith("rewards."))
  if (rewards.length < 2) return known
  return [
    ...known,
    ...rewards.map((column): Measure => {
      const name = column.slice("rewards.".length)
      return { title: `Reward ${name}, mean before its weight`, columns: [[column, name]] }
    }),
  ]
}

const withDrawnLines = (measures: readonly Measure[], columns: Columns): Measure[] =>
  measures.map((measure) => ({
    ...measure,
    columns: measure.columns.filter(([column]) => isDrawn(columns, column)),
  }))

const isDrawn = (columns: Columns, column: string) =>
  columns.get(column)?.some(Number.isFinite) === true

function ownMeasure(column: string): Measure {
  const [prefix, title] = NAMED.find(([start]) => column.startsWith(start)) ?? []
  const name = prefix === undefined ? column : column.slice(prefix.length)
  return { title: title ? title(name) : column, columns: [[column, name]] }
}

/** The columns of steps with what is made of them. */
export function drawnColumns(columns: Columns): Columns {
  const shares = effectiveShare(columns)
  return shares.length === 0 ? columns : new Map([...columns, ["effective_share", shares]])
}
