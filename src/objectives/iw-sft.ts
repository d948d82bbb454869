import { choice, defineObjective, MODIFIERS, number } from "./definition.ts"

/**
 * Importance-weighted SFT (arXiv 2507.12856; github.com/emmyqin/iw_sft, `bounding_trainers.py`),
 * which tightens SFT's bound on the reinforcement objective.
 *
 *     sequence: loss_t = sg(clamp(exp(T mean_t(ln pi_theta - ln pi_ref)), low, high)) c_t
 *     token:    loss_t = sg(clamp(exp(T (ln pi_theta - ln pi_ref)), low, high)) c_t
 *
 * The published bounds are [0, 16] for sequences and [0.2, 1.8] for tokens. Needs the frozen base
 * as reference; the sequence mode needs a first forward pass over the step.
 */
export const iwSft = defineObjective({
  name: "iw-sft",
  formula: "sg(clamp(exp(T mean_t(ln pi - ln pi_ref)), low, high)) c",
  parameters: {
    mode: choice(["sequence", "token"], "one weight a sequence, or one a token"),
    temperature: number(1, [0, 100], "T; 0 is SFT"),
    low: number(Number.NaN, [0, 1e6], "least weight: 0 for sequences, 0.2 for tokens"),
    high: number(Number.NaN, [0, 1e6], "largest weight: 16 for sequences, 1.8 for tokens"),
  },
  form: ({ mode, temperature, low, high }, { logp, ref_logp }) => {
    const [publishedLow, publishedHigh] = mode === "sequence" ? [0, 16] : [0.2, 1.8]
    const logRatio = logp.minus(ref_logp)
    const exponent = mode === "sequence" ? logRatio.detach().sequenceMean() : logRatio
    const ratio = exponent.times(temperature).exp()
    return {
      weight: ratio.clamp(
        Number.isNaN(low) ? publishedLow! : low,
        Number.isNaN(high) ? publishedHigh! : high,
      ),
    }
  },
  modifiers: MODIFIERS,
})
