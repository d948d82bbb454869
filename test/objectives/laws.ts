/**
 * Columns to try objectives on, and for those on samples the weight of each token as the formula
 * gives it by hand.
 */
import type { Columns, ObjectiveName, ObjectiveSettings } from "../../src/objectives/index.ts"

export const LOGP = Float64Array.of(-1e-9, -0.02, -0.4, -1, -1.7, -3, -7, -40)
export const N = LOGP.length
export const column = (f: (t: number) => number) => Float64Array.from({ length: N }, (_, t) => f(t))
export const SEGMENTS = Int32Array.of(0, 0, 0, 1, 1, 2, 2, 2)
export const MEANS = [0.42 / 3, 2.7 / 2, 50 / 3]

export const COLUMNS: Columns = {
  logp: LOGP,
  entropy: column((t) => 0.1 + 0.4 * t),
  topk_entropy: column((t) => 0.05 + 0.35 * t),
  ref_logp: column((t) => LOGP[t]! * 0.8 - 0.1),
  kl_ref: column((t) => 0.03 * t),
  old_logp: column((t) => LOGP[t]! + 0.3 * Math.cos(t)),
  advantage: column((t) => (t % 3) - 1),
  token_class: column((t) => (t === 6 ? 1 : t === 7 ? 2 : 0)),
  sampling_logp: column((t) => LOGP[t]! + 0.1 * Math.sin(t)),
  expert: column((t) => Number(SEGMENTS[t] === 1)),
  reward: column((t) => Number(SEGMENTS[t] === 0)),
  pair_sign: column((t) => (SEGMENTS[t]! % 2 === 0 ? 1 : -1)),
  row_weight: column((t) => 0.5 + SEGMENTS[t]!),
  position: column((t) => t - SEGMENTS.indexOf(SEGMENTS[t]!)),
  kl_step: 0.1,
  progress: 0.25,
  step: 25,
  steps: 100,
}
export const at = (name: keyof Columns, t: number) => (COLUMNS[name] as Float64Array)[t]!
export const clamp = (x: number, low: number, high: number) => Math.min(Math.max(x, low), high)
export const sequenceRatio = (s: number, T: number) => {
  const tokens = [...SEGMENTS.keys()].filter((t) => SEGMENTS[t] === s)
  const sum = tokens.reduce((total, t) => total + LOGP[t]! - at("ref_logp", t), 0)
  return Math.exp((T * sum) / tokens.length)
}

export interface Law {
  readonly name: ObjectiveName
  readonly settings?: Omit<ObjectiveSettings, "name">
  /** -d loss / d logp. */
  readonly weight: (p: number, t: number, c: number) => number
  /** Tokens, from the likeliest, on which it is finite; all 8 if left out. */
  readonly finite?: number
}

const ratioOf = (t: number) => Math.exp(LOGP[t]! - at("old_logp", t))
const A = (t: number) => at("advantage", t)
const expert = (t: number) => at("expert", t) === 1

/** GRPO's: the ratio times the advantage, nothing where the clip binds. */
function clipped(t: number, low = 0.2, high = 0.2): number {
  const ratio = ratioOf(t)
  const bound = (A(t) > 0 && ratio > 1 + high) || (A(t) < 0 && ratio < 1 - low)
  return bound ? 0 : ratio * A(t)
}

const meanEntropy = (s: number) => {
  const tokens = [...SEGMENTS.keys()].filter((t) => SEGMENTS[t] === s)
  return tokens.reduce((sum, t) => sum + at("entropy", t), 0) / tokens.length
}

export const SAMPLE_LAWS: readonly Law[] = [
  { name: "ppo", weight: (_p, t) => clipped(t) },
  {
    name: "grpo",
    settings: { beta: 0.04, epsilon_high: 0.28 },
    weight: (_p, t) => clipped(t, 0.2, 0.28) + 0.04 * (Math.exp(at("ref_logp", t) - LOGP[t]!) - 1),
  },
  {
    name: "grpo",
    settings: { beta: 0.04, kl: "k2" },
    weight: (_p, t) => clipped(t) + 0.04 * (at("ref_logp", t) - LOGP[t]!),
  },
  { name: "dr-grpo", weight: (_p, t) => clipped(t) },
  { name: "dapo", weight: (_p, t) => clipped(t, 0.2, 0.28) },
  { name: "reinforce", weight: (_p, t) => A(t) },
  { name: "reinforce++", weight: (_p, t) => clipped(t) },
  { name: "cispo", weight: (_p, t) => Math.min(ratioOf(t), 5) * A(t) },
  {
    name: "sapo",
    weight: (_p, t) => {
      const tau = A(t) > 0 ? 1 : 1.05
      const gate = 1 / (1 + Math.exp(-tau * (ratioOf(t) - 1)))
      return 4 * gate * (1 - gate) * ratioOf(t) * A(t)
    },
  },
  {
    name: "luffy-rl",
    weight: (p, t) => (expert(t) ? (0.1 * A(t) * p) / (p + 0.1) ** 2 : clipped(t)),
  },
  {
    name: "rl-plus",
    weight: (p, t) => {
      const old = Math.exp(at("old_logp", t))
      return expert(t) ? (2 * A(t) * Math.sqrt(1 - p) * p) / (1.5 * old + 0.5) : clipped(t)
    },
  },
  {
    name: "srft",
    weight: (p, t) => {
      const H = meanEntropy(SEGMENTS[t]!)
      if (expert(t)) return 0.5 * Math.exp(-H) + A(t) * p
      return at("reward", t) > 0 ? 0.1 * Math.exp(H) : -1
    },
  },
  {
    name: "chord",
    settings: { mu_warmup: 48, mu_decay: 100 },
    // Step 25 of a rise over 48: half of mu_peak. 8 tokens, of them 2 of demonstrations.
    weight: (p, t) => (expert(t) ? 0.45 * 4 * p * (1 - p) : (0.55 * 8 * clipped(t)) / 6),
  },
  {
    name: "chord",
    settings: { phi: "1", mu_decay: 48 },
    // Step 25 of a fall over 48: half way along the cosine.
    weight: (_p, t) => (expert(t) ? 0.475 * 4 : (0.525 * 8 * clipped(t)) / 6),
  },
  {
    name: "chord",
    settings: { phi: "1", mu_decay: 72 },
    // A third of the way: cos^2(30 degrees) = 3/4 of the fall is left.
    weight: (_p, t) => {
      const mu = 0.05 + 0.75 * 0.85
      return expert(t) ? mu * 4 : ((1 - mu) * 8 * clipped(t)) / 6
    },
  },
  { name: "hpt", settings: { sft: 0.3 }, weight: (_p, t) => (expert(t) ? 0.3 : clipped(t)) },
  {
    name: "prefix-rft",
    settings: { keep: 0.5 },
    // Of the two demonstration tokens the later has the higher entropy.
    weight: (_p, t) => (t === 3 ? 0 : clipped(t)),
  },
  { name: "dft-rl", weight: (p, t) => (expert(t) ? p : clipped(t)) },
  ...(["distill", "self-distill"] as const).map((name) => ({
    name,
    weight: (_p: number, t: number) => Math.min(ratioOf(t), 2) * (at("ref_logp", t) - LOGP[t]!),
  })),
  { name: "rwr", weight: (_p, t) => 0.5 + SEGMENTS[t]! },
  { name: "offline-pg", weight: (p, t) => (A(t) < 0 && p < 1e-4 ? 0 : A(t)) },
]
