/** The head of a reward model: one number of each sequence in place of logits. */
import { gradients, input, type Tensor } from "../../graph/index.ts"
import { familyOf } from "../families/table.ts"
import {
  type HeadOptions,
  type HeadTraining,
  headBackward,
  headForward,
  type TokenQuantities,
} from "./head.ts"

type Outputs = Record<string, Tensor>

/** n, the sequences of a chunk. */
const ROWS = "rows"

/**
 * score = w norm(x), [n, 1], of the hidden states [n, C] at the sequences' last tokens: a linear
 * layer without bias, as Transformers' `...ForSequenceClassification` of one label. What a family
 * does to its logits is not done to scores.
 */
function scoreGraph({ shape, columns = [], scalars = [], loss }: HeadOptions) {
  const { hiddenSize: C } = shape
  const hidden = input("hidden", [ROWS, C])
  const norm = input("norm.weight", [C])
  const head = input("head.weight", [1, C])
  // What a sequence's loss is multiplied with in the sum.
  const scale = input("scale", [ROWS, 1])
  const score = familyOf(shape).finalNorm(hidden, norm, shape).matmul(head, {
    transB: true,
    exact: true,
  })
  const quantities: Record<string, Tensor> = { score }
  for (const name of columns) quantities[name] = input(name, [ROWS, 1])
  for (const name of scalars) quantities[name] = input(name, [])
  const found = loss(quantities as unknown as TokenQuantities)
  const slope = found.coefficients.score ?? scale.mul(0)
  const statistics = {
    score,
    loss: found.loss.add(scale.mul(0)),
    weight: slope.neg().add(scale.mul(0)),
  }
  return { hidden, norm, head, score, gradient: slope.mul(scale), statistics }
}

function scoreBackward(options: HeadOptions, training: HeadTraining): Outputs {
  const { hidden, norm, head, score, gradient, statistics } = scoreGraph(options)
  const { hiddenSize: C } = options.shape
  const wanted = [hidden, norm, head]
  const [dHidden, dNorm, dHead] = gradients([{ output: score, gradient }], wanted)
  return {
    ...statistics,
    dhidden: dHidden!,
    ...(training.norm ? { "grad.norm.weight": dNorm!.add(input("acc.norm.weight", [C])) } : {}),
    ...(training.head ? { "grad.head.weight": dHead!.add(input("acc.head.weight", [1, C])) } : {}),
  }
}

/** What the head of a decoder computes: logits or scores, with gradients where it is trained. */
export function headOutputs(options: HeadOptions, training?: HeadTraining): Outputs {
  if (options.shape.scores) {
    return training ? scoreBackward(options, training) : scoreGraph(options).statistics
  }
  return training ? headBackward(options, training) : headForward(options)
}
