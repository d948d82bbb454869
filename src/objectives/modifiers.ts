/** The modifiers of docs/objectives.md, applied to any form of objective. */
import type { Form, Ramp } from "./definition.ts"
import { constant, type Expression, where } from "./expression.ts"
import { INPUTS, weightOf } from "./objective.ts"

export interface ModifierValues {
  readonly weightFloor?: number | undefined
  readonly weightCeiling?: number | undefined
  readonly ramp?: Ramp | undefined
  readonly keepSpecial?: boolean | undefined
}

/**
 * The loss of a form under its modifiers, in this order:
 *
 *     w' = min(max(w, weight_floor), weight_ceiling)
 *     base = c where keep_special and token_class > 0, else sg(w') c
 *     loss = r (base + anchor) + (1 - r) c,   r = clamp((progress - start) / (end - start), 0, 1)
 *
 * A direct form under a floor or a ceiling becomes a weighted one, w = -d loss / d logp: the same
 * gradient wherever the bound does not bind, the value then being w c.
 */
export function modified(form: Form, modifiers: ModifierValues): Expression {
  const { weightFloor, weightCeiling, ramp, keepSpecial } = modifiers
  const { logp, nll, token_class, progress } = INPUTS
  const bounded = weightFloor !== undefined || weightCeiling !== undefined
  let base: Expression
  if ("direct" in form && !bounded) {
    base = form.direct
  } else {
    let weight = "direct" in form ? weightOf(form.direct) : form.weight
    if (weightFloor !== undefined) weight = weight.max(weightFloor)
    if (weightCeiling !== undefined) weight = weight.min(weightCeiling)
    // A weight of 1 is left out: SFT is then the NLL itself.
    base = weight.value === 1 ? nll : weight.detach().times(logp).negate()
  }
  if (keepSpecial) base = where(token_class.greater(0), nll, base)
  const loss = form.anchor === undefined ? base : base.plus(form.anchor)
  if (ramp === undefined || ramp.end === 0) return loss
  const part = rampedPart(progress, ramp)
  return part.times(loss).plus(constant(1).minus(part).times(nll))
}

function rampedPart(progress: Expression, { start, end }: Ramp): Expression {
  if (start === end) return progress.greaterOrEqual(start)
  return progress
    .minus(start)
    .over(end - start)
    .clamp(0, 1)
}
