/** What a value head is trained with, beside a policy loss. */
import { constant, type Expression } from "./expression.ts"
import type { Measures, ObjectiveInputs } from "./objective.ts"

/**
 * PPO's value loss (OpenAI baselines; verl, OpenRLHF, TRL):
 *
 *     1/2 max((V - G)^2, (clip(V, V_old - k, V_old + k) - G)^2)
 *
 * of a token, with G = `value_target`: its GAE and V_old together. k = 0 clips nothing.
 */
export function valueLoss(inputs: ObjectiveInputs, clip: number): Expression {
  const { value, value_target } = inputs
  const squared = (of: Expression) => {
    const apart = of.minus(value_target)
    return apart.times(apart)
  }
  const plain = squared(value)
  const most = clip === 0 ? plain : plain.max(squared(clippedValue(inputs, clip)))
  return most.times(0.5)
}

const clippedValue = ({ value, old_value }: ObjectiveInputs, clip: number): Expression =>
  value.minus(old_value).clamp(-clip, clip).plus(old_value)

/** What is told of it: loss, mean value, and the share of tokens past the clip. */
export function valueMeasures(inputs: ObjectiveInputs, clip: number): Measures {
  const { value, old_value } = inputs
  const apart = value.minus(old_value)
  const past = apart.max(apart.negate()).greater(clip)
  return {
    value: value.detach(),
    value_loss: valueLoss(inputs, clip).detach(),
    value_clipped: clip === 0 ? constant(0) : past,
  }
}
