/** Advantages of single tokens, where a value head says what is still to come. */
import type { GaeSettings } from "../../objectives/index.ts"
import { mean, whitenedTokens } from "./advantages.ts"

export interface ValuedSample {
  /** null: no reward could be said; its advantages are 0 and its values stay as they are. */
  readonly reward: number | null
  /** What the value head said before each token. */
  readonly values: Float32Array
  /** What is taken off each token's reward, where the KL is in it. */
  readonly penalties?: Float64Array | undefined
}

export interface TokenAdvantages {
  /** Whitened over all tokens of the rollout. */
  readonly advantages: Float32Array
  readonly targets: Float32Array
}

/**
 * Generalised advantage estimation (arXiv 1506.02438), in float64:
 *
 *     delta_t = r_t + gamma V_{t+1} - V_t,   A_t = delta_t + gamma lambda A_{t+1},   G_t = A_t + V_t
 *
 * The reward comes with the last token, behind which V is 0: a sample ends where it ends, cut or
 * not, as in TRL and verl. Advantages are then brought to mean 0 and variance 1 over all tokens;
 * the targets G are not. gamma = lambda = 1 and V = 0 give every token the sample's reward.
 */
export function tokenAdvantages(
  samples: readonly ValuedSample[],
  { gamma, lambda }: GaeSettings,
): TokenAdvantages[] {
  const found = samples.map((sample) => estimated(sample, gamma, lambda))
  const scored = samples.map(({ reward }) => reward !== null)
  const white = whitenedTokens(found.filter((_, i) => scored[i]))
  let at = 0
  return samples.map(({ values }, i) => {
    if (!scored[i]) {
      return { advantages: new Float32Array(values.length), targets: values.slice() }
    }
    const targets = Float32Array.from(found[i]!, (advantage, t) => advantage + values[t]!)
    return { advantages: Float32Array.from(white[at++]!), targets }
  })
}

function estimated(
  { reward, values, penalties }: ValuedSample,
  gamma: number,
  lambda: number,
): Float64Array {
  const found = new Float64Array(values.length)
  let [next, ahead] = [0, 0]
  for (let t = values.length - 1; t >= 0; t--) {
    const own = (t === values.length - 1 ? (reward ?? 0) : 0) - (penalties?.[t] ?? 0)
    const delta = own + gamma * next - values[t]!
    ahead = delta + gamma * lambda * ahead
    next = values[t]!
    found[t] = ahead
  }
  return found
}

export interface CriticFields {
  /** Mean over tokens. */
  readonly value: number
  readonly value_target: number
  /** 1 - Var(G - V) / Var(G): 1 where the value head foresees all, 0 or less where nothing. */
  readonly explained_variance: number | null
}

/** What is told of a critic before the first update of a rollout. */
export function criticFields(
  rows: readonly { readonly oldValue?: Float32Array; readonly valueTarget?: Float32Array }[],
): CriticFields | undefined {
  const values = rows.flatMap(({ oldValue }) => [...(oldValue ?? [])])
  const targets = rows.flatMap(({ valueTarget }) => [...(valueTarget ?? [])])
  if (values.length === 0) return undefined
  const variance = (all: readonly number[]) => {
    const average = mean(all)
    return mean(all.map((one) => (one - average) ** 2))
  }
  const whole = variance(targets)
  const left = variance(targets.map((target, t) => target - values[t]!))
  return {
    value: mean(values),
    value_target: mean(targets),
    explained_variance: whole === 0 ? null : 1 - left / whole,
  }
}
