/**
 * The losses of `golden/rl/rl.json` (TRL's own methods, and closed forms, in float64) as dftune
 * states them.
 */
import { readFileSync } from "node:fs"
import {
  type Columns,
  type ImportanceSettings,
  type Objective,
  type ObjectiveSettings,
  objectiveFromConfig,
  type StepTokens,
  tokenObjective,
} from "../../src/objectives/index.ts"

type Rows = readonly (readonly number[])[]
interface Recorded {
  readonly loss: number
  readonly d_logp: Rows
}
type BanditNumber =
  | "theta"
  | "theta_ref"
  | "beta"
  | "p"
  | "d_objective_d_theta"
  | "true_grad_kl"
  | `expected_grad_${"k2" | "k3" | "k3_times_ratio"}_in_loss`
interface OnePair {
  readonly sigmoid: { readonly loss: number; readonly d_loss_d_margin: number }
  readonly "cdpo_0.1": { readonly loss: number; readonly d_loss_d_margin: number }
  readonly hinge: { readonly loss: number; readonly d_loss_d_margin: number }
  readonly ipo_mean: { readonly loss: number; readonly d_loss_d_mean_margin: number }
}
interface Golden {
  readonly inputs: {
    readonly logits: { readonly logits: Rows; readonly targets: readonly number[] }
    readonly pairs: Readonly<Record<"chosen" | "rejected" | "ref_chosen" | "ref_rejected", Rows>>
    readonly kto: Readonly<Record<"kl_policy" | "kl_ref" | "kl_policy_low", Rows>>
    readonly groups: Readonly<
      Record<"logp" | "old_logp" | "ref_logp" | "sampling_logp" | "entropy", Rows>
    > & {
      readonly rewards: number[]
      readonly max_completion_length: number
      readonly expert_rows: number[]
    }
  }
  readonly advantages: Readonly<Record<string, number[] & Rows>>
  readonly bandit: readonly (Readonly<Record<BanditNumber, number>> & {
    readonly rewards: readonly [number, number]
  })[]
  readonly importance: {
    readonly token_truncated_2: Rows
    readonly sequence_product: readonly number[]
    readonly sequence_geometric: readonly number[]
  }
  readonly pairs_one_by_one: { readonly pairs: readonly OnePair[] }
  readonly from_logits: readonly {
    readonly name: string
    readonly loss: number
    readonly d_logits: Rows
  }[]
  readonly kl_estimators: Readonly<Record<string, { readonly value: Rows; readonly d_logp: Rows }>>
  readonly cases: readonly {
    readonly name: string
    readonly trl?: Recorded
    readonly closed?: Recorded
  }[]
  readonly hybrids: readonly ({ readonly name: string } & Recorded)[]
}

export const GOLDEN_RL: Golden = JSON.parse(
  readFileSync(new URL("../../golden/rl/rl.json", import.meta.url), "utf8"),
)

/** A step's tokens in dftune's order: sequence after sequence. */
export interface Step {
  readonly columns: Columns
  readonly segments: Int32Array
  readonly maxTokens: number
}

export interface GoldenCase {
  readonly name: string
  readonly objective: Objective
  readonly step: Step
  readonly loss: number
  /** d loss / d logp by token, in the step's order. */
  readonly gradient: readonly number[]
  /** Some cases are divided by what no divisor of ours is: by a number of tokens of their own. */
  readonly tokens?: number
}

const flat = (rows: Rows) => Float64Array.from(rows.flat())
const segmentsOf = (rows: Rows) => Int32Array.from(rows.flatMap((row, i) => row.map(() => i)))
const perToken = (rows: Rows, values: readonly number[]) =>
  Float64Array.from(rows.flatMap((row, i) => row.map(() => values[i]!)))

/** Chosen and rejected in turn, as a step has them: sequences 2k and 2k + 1 are a pair. */
const inTurn = <T>(chosen: readonly T[], rejected: readonly T[]) =>
  chosen.flatMap((side, i) => [side, rejected[i]!])

const { pairs, groups, kto } = GOLDEN_RL.inputs
const pairRows = inTurn(pairs.chosen, pairs.rejected)
export const byPairs: Step = {
  columns: {
    logp: flat(pairRows),
    ref_logp: flat(inTurn(pairs.ref_chosen, pairs.ref_rejected)),
    pair_sign: perToken(
      pairRows,
      pairRows.map((_, i) => (i % 2 === 0 ? 1 : -1)),
    ),
    position: Float64Array.from(pairRows.flatMap((row) => row.map((_, t) => t))),
  },
  segments: segmentsOf(pairRows),
  maxTokens: 1,
}

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0)
const meanLogRatio = (policy: Rows, reference: Rows) =>
  sum(policy.map((row, i) => sum(row) - sum(reference[i]!))) / policy.length
const withKl = (policy: Rows | undefined): Step => ({
  ...byPairs,
  columns: {
    ...byPairs.columns,
    kl_step: policy ? Math.max(0, meanLogRatio(policy, kto.kl_ref)) : 0,
  },
})

const experts = groups.logp.map((_, i) => Number(groups.expert_rows.includes(i)))

/** `advantages`: a name of the golden file's, one number a sample or one a token. */
export function sampled(advantages: string, more: Columns = {}): Step {
  const given = GOLDEN_RL.advantages[advantages]!
  const advantage = typeof given[0] === "number" ? perToken(groups.logp, given) : flat(given)
  return {
    columns: {
      logp: flat(groups.logp),
      old_logp: flat(groups.old_logp),
      ref_logp: flat(groups.ref_logp),
      sampling_logp: flat(groups.sampling_logp),
      entropy: flat(groups.entropy),
      reward: perToken(groups.logp, groups.rewards),
      expert: perToken(groups.logp, experts),
      advantage,
      progress: 0,
      step: 1,
      steps: 1,
      ...more,
    },
    segments: segmentsOf(groups.logp),
    maxTokens: groups.max_completion_length,
  }
}

type Settings = ObjectiveSettings | Objective

/** A case's name, the objective it is, and the step it is computed on. */
type Row = readonly [name: string, settings: Settings, step: Step, importance?: ImportanceSettings]

const dpo = (more: object = {}): Settings => ({ name: "dpo", ...more })
const grpo = (more: object = {}): Settings => ({ name: "grpo", ...more })
const summed = { normalization: "sequence_sums" }
const tokens = { normalization: "tokens" }
const A = sampled("grpo")

const PAIRS: readonly Row[] = [
  ["dpo-sigmoid", dpo(), byPairs],
  ["dpo-sigmoid-beta-0.5", dpo({ beta: 0.5 }), byPairs],
  ["dpo-robust", dpo({ loss: "robust", label_smoothing: 0.1 }), byPairs],
  ["dpo-cdpo", dpo({ label_smoothing: 0.1 }), byPairs],
  ["dpo-ipo", dpo({ loss: "ipo" }), byPairs],
  ["dpo-ipo-summed", dpo({ loss: "ipo", length_normalized: false }), byPairs],
  ["dpo-hinge", dpo({ loss: "hinge" }), byPairs],
  ["dpo-sigmoid-norm", dpo({ length_normalized: true }), byPairs],
  ["dpo-ld", dpo({ ld_alpha: 0.5 }), byPairs],
  ["dpo-apo-zero", dpo({ loss: "apo-zero" }), byPairs],
  ["dpo-apo-down", dpo({ loss: "apo-down" }), byPairs],
  ["dpo-nca", dpo({ loss: "nca" }), byPairs],
  ["dpo-plus-sft", dpo({ sft: 0.5 }), byPairs],
  ["dpo-plus-dft", dpo({ sft: 0.5, sft_weight: "dft" }), byPairs],
  ["reference-free-dpo", dpo({ reference: "none" }), byPairs],
  ["simpo", { name: "simpo", beta: 2, gamma: 1 }, byPairs],
  ["simpo-trl-default-alpha", { name: "simpo", beta: 2, gamma: 1, sft: 1 }, byPairs],
  ["cpo", { name: "cpo" }, byPairs],
  ["cpo-smoothed", { name: "cpo", sft: 0, label_smoothing: 0.1 }, byPairs],
  ["orpo", { name: "orpo" }, byPairs],
  ["kto", { name: "kto" }, withKl(kto.kl_policy)],
  ["kto-weighted", { name: "kto", desirable_weight: 1.33 }, withKl(kto.kl_policy)],
  ["kto-clamped-kl", { name: "kto" }, withKl(kto.kl_policy_low)],
  ["apo-zero-unpaired", { name: "kto" }, withKl(undefined)],
]

const ROLLOUTS: readonly Row[] = [
  ["grpo-sequences", grpo(), A],
  ["dapo-tokens", { name: "dapo" }, A],
  ["bnpo-tokens", { name: "ppo" }, A],
  ["dr-grpo", { name: "dr-grpo" }, sampled("dr_grpo")],
  ["grpo-on-policy", grpo(tokens), sampled("grpo", { old_logp: flat(groups.logp) })],
  ["grpo-k3", grpo({ beta: 0.04 }), A],
  ["grpo-k3-ratio", grpo({ beta: 0.04, kl: "k3-ratio" }), A],
  ["grpo-two-sided", grpo({ dual_clip: 1.3, ...tokens }), A],
  ["dual-clip", { name: "ppo", dual_clip: 1.3 }, A],
  ["gspo", { name: "gspo" }, A],
  ["gspo-wide", { name: "gspo", epsilon: 0.2, epsilon_high: 0.2 }, A],
  ["gspo-token-form", grpo({ level: "sequence" }), A],
  ["luspo", grpo({ level: "sequence", ...summed }), A],
  ["cispo", { name: "cispo" }, A],
  ["cispo-clipped", { name: "cispo", epsilon_max: 1.28 }, A],
  ["cispo-trl-default", { name: "cispo", epsilon_max: 0.2 }, A],
  ["cispo-verl", { name: "cispo", epsilon_max: 1.2, epsilon_min: 0.8 }, A],
  ["sapo", { name: "sapo" }, A],
  ["reinforce", { name: "reinforce" }, sampled("dr_grpo")],
  ["reinforce-pp", { name: "reinforce++" }, sampled("reinforce_pp")],
  ["reinforce-pp-baseline", { name: "reinforce++" }, sampled("reinforce_pp_baseline")],
  ["tis-token", grpo(tokens), A, { importance: "token-truncate", cap: 2 }],
  ["mis-sequence", grpo(tokens), A, { importance: "sequence-mask", cap: 2 }],
  ["opsm", grpo(tokens), A, { importance: "none", cap: 0, offPolicyMask: 0.05 }],
  ["entropy-bonus", grpo({ entropy: 0.01, ...tokens }), A],
  ["rloo", { name: "rloo" }, sampled("rloo")],
  ["rloo-reinforce", { name: "reinforce", ...summed }, sampled("rloo")],
  ["ppo-policy", { name: "ppo" }, sampled("gae_0.95_whitened")],
]

/** The demonstrations' own loss of SRFT alone, as the golden case has it. */
const srftTerm = tokenObjective("srft-sft-term", ({ entropy, nll, expert }) =>
  expert.times(entropy.detach().sequenceMean().negate().exp().times(0.5).detach().times(nll)),
)

const HYBRIDS: readonly Row[] = [
  ["luffy", { name: "luffy-rl" }, A],
  ["rl-plus", { name: "rl-plus" }, A],
  ["chord-phi", { name: "chord", mu_peak: 0.5, mu_valley: 0.5 }, A],
  ["srft-sft-term", srftTerm, A],
  ["psft", { name: "psft", epsilon_high: 0.28 }, A],
  ["iw-sft-sequence", { name: "iw-sft" }, A],
  ["dft-grpo", { name: "dft-rl" }, A],
]

const recorded = (name: string): Recorded => {
  const one = [...GOLDEN_RL.cases, ...GOLDEN_RL.hybrids].find((each) => each.name === name)!
  if ("loss" in one) return one
  // TRL's ORPO computes its odds in float32.
  return name === "orpo" ? one.closed! : (one.trl ?? one.closed)!
}

function goldenCase(
  [name, settings, step, importance]: Row,
  order: (rows: Rows) => Rows,
): GoldenCase {
  const { loss, d_logp } = recorded(name)
  const objective =
    "expression" in settings && "parameters" in settings
      ? (settings as Objective)
      : objectiveFromConfig(settings as ObjectiveSettings, importance)
  const tokens =
    name === "srft-sft-term"
      ? sum(groups.expert_rows.map((i) => groups.logp[i]!.length))
      : undefined
  return {
    name,
    objective,
    step,
    loss,
    gradient: order(d_logp).flat(),
    ...(tokens ? { tokens } : {}),
  }
}

const asTheyAre = (rows: Rows) => rows
const half = (rows: Rows) => inTurn(rows.slice(0, rows.length / 2), rows.slice(rows.length / 2))

export const GOLDEN_CASES: readonly GoldenCase[] = [
  ...PAIRS.map((row) => goldenCase(row, half)),
  ...ROLLOUTS.map((row) => goldenCase(row, asTheyAre)),
  ...HYBRIDS.map((row) => goldenCase(row, asTheyAre)),
]

/** Cases of a critic: their gradient is by the value, not by logp. */
export const OF_VALUES = ["ppo-value-clip-None", "ppo-value-clip-0.2", "ppo-value-clip-0.5"]

export const stepTokens = ({ segments, maxTokens }: Step): StepTokens => ({
  segments,
  maxTokens,
  microBatches: new Int32Array(segments.length),
  weights: new Float64Array(segments.length),
})
