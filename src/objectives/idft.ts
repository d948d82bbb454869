import { defineObjective, MODIFIERS, number } from "./definition.ts"
import { constant } from "./expression.ts"

/**
 * IDFT (arXiv 2602.12222; github.com/zhangmiaosen2000/Towards-On-Policy-SFT,
 * `fsdp_idft_trainer.py`).
 *
 *     loss = sg(wmax - (wmax - wmin) sigmoid(-(phi - tau) / T)) c,   phi = ln p + H
 *
 * phi is above 0 where the target is likelier than a typical sample of the model's own
 * distribution. Ramped in as in its code: SFT for the first 20 % of the steps, a linear blend over
 * the next 10 %.
 */
export const idft = defineObjective({
  name: "idft",
  formula: "sg(wmax - (wmax - wmin) sigmoid(-(ln p + H - tau) / T)) c",
  parameters: {
    wmin: number(0.1, [0, 100], "weight of the least typical tokens"),
    wmax: number(1, [0, 100], "weight of the most typical tokens"),
    tau: number(0, [-100, 100], "ln p + H at which the weight is half way"),
    temperature: number(1, [1e-6, 1e6], "T: how gradual the change is"),
  },
  form: ({ wmin, wmax, tau, temperature }, { logp, entropy }) => {
    const phi = logp.plus(entropy)
    const unusual = constant(tau).minus(phi).over(temperature).sigmoid()
    return { weight: constant(wmax).minus(unusual.times(wmax - wmin)) }
  },
  modifiers: MODIFIERS,
  ramp: { start: 0.2, end: 0.3 },
})
