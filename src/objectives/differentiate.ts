/**
 * Reverse-mode differentiation of an expression into expressions: the coefficients d loss / d
 * input.
 */
import {
  constant,
  type Expression,
  GRADIENT_INPUTS,
  type GradientInput,
  isReduction,
  topologicalOrder,
} from "./expression.ts"
import { OPERATIONS, plus } from "./operations.ts"

/**
 * d loss_t / d input_t for each input that carries gradients and that the loss depends on through
 * no `detach`.
 */
export type Coefficients = Readonly<Partial<Record<GradientInput, Expression>>>

const known = new WeakMap<Expression, Coefficients>()

/**
 * The coefficients of `loss`, as expressions over the same inputs. Derivatives of first order only.
 */
export function coefficients(loss: Expression): Coefficients {
  const found = known.get(loss) ?? differentiate(loss)
  known.set(loss, found)
  return found
}

function differentiate(loss: Expression): Coefficients {
  const order = topologicalOrder([loss])
  const active = activeNodes(order)
  const adjoints = new Map<Expression, Expression>()
  if (active.has(loss)) adjoints.set(loss, constant(1))
  const result: Partial<Record<GradientInput, Expression>> = {}
  for (const node of order.reverse()) {
    const dy = adjoints.get(node)
    if (dy === undefined) continue
    if (node.op === "input") {
      // Two nodes may name one input.
      const name = node.name as GradientInput
      const before = result[name]
      result[name] = before === undefined ? dy : plus(before, dy)
      continue
    }
    if (node.op === "constant" || isReduction(node.op)) continue
    const shares = OPERATIONS[node.op].derivative(dy, node, node.args)
    node.args.forEach((argument, index) => {
      const share = shares[index]
      if (!active.has(argument) || share === null || share === undefined) return
      const before = adjoints.get(argument)
      adjoints.set(argument, before === undefined ? share : plus(before, share))
    })
  }
  return result
}

/** The nodes through which a gradient flows from an input of the model's. */
function activeNodes(order: readonly Expression[]): Set<Expression> {
  const active = new Set<Expression>()
  for (const node of order) {
    if (node.op === "input") {
      if ((GRADIENT_INPUTS as readonly string[]).includes(node.name!)) active.add(node)
    } else if (node.op !== "detach" && !isReduction(node.op)) {
      if (node.args.some((argument) => active.has(argument))) active.add(node)
    }
  }
  return active
}
