/**
 * Expressions over per-token quantities: what an objective is written in (docs/architecture.md,
 * seam 2).
 *
 * An expression is a directed acyclic graph of immutable nodes. The operations are a closed set,
 * `detach` (stop-gradient) is one of them, so a forgotten stop-gradient is visible. Sharing a node
 * shares its work.
 */
import { assert } from "../errors.ts"

export const UNARY = ["neg", "exp", "log", "sqrt", "sigmoid", "detach"] as const
export const BINARY = ["add", "sub", "mul", "div", "pow", "min", "max"] as const
export const COMPARISON = ["gt", "ge", "lt", "le", "eq"] as const
export const REDUCTION = [
  "sequence_mean",
  "sequence_sum",
  "batch_median",
  "pair_sum",
  "batch_sum",
  "batch_rank",
] as const

export type UnaryOp = (typeof UNARY)[number]
export type BinaryOp = (typeof BINARY)[number]
export type ComparisonOp = (typeof COMPARISON)[number]
export type ReductionOp = (typeof REDUCTION)[number]
export type ElementwiseOp = UnaryOp | BinaryOp | ComparisonOp | "where"
export type Op = "input" | "constant" | ElementwiseOp | ReductionOp

/** One number per supervised token. */
export const TOKEN_INPUTS = [
  "logp",
  "entropy",
  "topk_entropy",
  "ref_logp",
  "kl_ref",
  "jsd_ref",
  "old_logp",
  "advantage",
  "token_class",
  "sampling_logp",
  "expert",
  "reward",
  "pair_sign",
  "row_weight",
  "position",
  "source",
  "score",
  "margin",
  "value",
  "old_value",
  "value_target",
] as const
/** One number per optimizer step. */
export const RUN_INPUTS = ["progress", "step", "steps", "kl_step"] as const
/** The inputs through which gradients reach the model; all others are data. */
export const GRADIENT_INPUTS = ["logp", "entropy", "kl_ref", "jsd_ref", "score", "value"] as const
/** The inputs that a forward pass measures; the other token inputs come with the rows. */
export const MEASURED_INPUTS = [
  "logp",
  "entropy",
  "topk_entropy",
  "ref_logp",
  "kl_ref",
  "jsd_ref",
  "score",
  "value",
] as const

export type TokenInput = (typeof TOKEN_INPUTS)[number]
export type RunInput = (typeof RUN_INPUTS)[number]
export type InputName = TokenInput | RunInput
export type GradientInput = (typeof GRADIENT_INPUTS)[number]
/** A reduction computed beforehand and fed as one more per-token input (`splitReductions`). */
export type ReducedInput = `reduction_${number}`

/** An expression, or a number standing for a constant. */
export type Operand = Expression | number

/**
 * A node, and by its arguments the graph below it. Built through the functions and methods here,
 * never mutated.
 */
export class Expression {
  readonly op: Op
  readonly args: readonly Expression[]
  /** Of an `input`. */
  readonly name: InputName | ReducedInput | undefined
  /** Of a `constant`. */
  readonly value: number | undefined

  constructor(
    op: Op,
    args: readonly Expression[],
    { name, value }: { name?: InputName | ReducedInput; value?: number } = {},
  ) {
    this.op = op
    this.args = args
    this.name = name
    this.value = value
    Object.freeze(this)
  }

  negate(): Expression {
    return unary("neg", this)
  }
  exp(): Expression {
    return unary("exp", this)
  }
  log(): Expression {
    return unary("log", this)
  }
  sqrt(): Expression {
    return unary("sqrt", this)
  }
  sigmoid(): Expression {
    return unary("sigmoid", this)
  }
  /** Stop-gradient: the same value, no derivative. */
  detach(): Expression {
    return unary("detach", this)
  }

  plus(other: Operand): Expression {
    return binary("add", this, other)
  }
  minus(other: Operand): Expression {
    return binary("sub", this, other)
  }
  /** The product; 0 times infinity is 0. */
  times(other: Operand): Expression {
    return binary("mul", this, other)
  }
  over(other: Operand): Expression {
    return binary("div", this, other)
  }
  power(other: Operand): Expression {
    return binary("pow", this, other)
  }
  min(other: Operand): Expression {
    return binary("min", this, other)
  }
  max(other: Operand): Expression {
    return binary("max", this, other)
  }
  clamp(low: Operand, high: Operand): Expression {
    return this.max(low).min(high)
  }

  /** 1 where this is greater, else 0. No derivative; the same holds for the other comparisons. */
  greater(other: Operand): Expression {
    return binary("gt", this, other)
  }
  greaterOrEqual(other: Operand): Expression {
    return binary("ge", this, other)
  }
  less(other: Operand): Expression {
    return binary("lt", this, other)
  }
  lessOrEqual(other: Operand): Expression {
    return binary("le", this, other)
  }
  equals(other: Operand): Expression {
    return binary("eq", this, other)
  }

  /**
   * Mean over the supervised tokens of each token's own sequence. The argument must be a `detach`.
   */
  sequenceMean(): Expression {
    return reduction("sequence_mean", this)
  }
  /**
   * Sum over the supervised tokens of each token's own sequence. The argument must be a `detach`.
   */
  sequenceSum(): Expression {
    return reduction("sequence_sum", this)
  }
  /**
   * Median over the sequences of the optimizer step (lower middle when even). The argument must be
   * a `detach` and one value per sequence.
   */
  batchMedian(): Expression {
    return reduction("batch_median", this)
  }
  /**
   * Sum over the supervised tokens of both sequences of a pair. The argument must be a `detach`.
   */
  pairSum(): Expression {
    return reduction("pair_sum", this)
  }
  /** Sum over all supervised tokens of the optimizer step. The argument must be a `detach`. */
  batchSum(): Expression {
    return reduction("batch_sum", this)
  }
  /**
   * How many supervised tokens of the optimizer step have a larger value. The argument must be a
   * `detach`.
   */
  batchRank(): Expression {
    return reduction("batch_rank", this)
  }
}

export function constant(value: number): Expression {
  assert(Number.isFinite(value), `an expression's constant must be finite, got ${value}`)
  return new Expression("constant", [], { value })
}

export function input(name: InputName | ReducedInput): Expression {
  return new Expression("input", [], { name })
}

export function unary(op: UnaryOp, argument: Expression): Expression {
  return new Expression(op, [argument])
}

export function binary(op: BinaryOp | ComparisonOp, a: Operand, b: Operand): Expression {
  return new Expression(op, [operand(a), operand(b)])
}

/** `a` where `condition` is not 0, else `b`. */
export function where(condition: Expression, a: Operand, b: Operand): Expression {
  return new Expression("where", [condition, operand(a), operand(b)])
}

/**
 * Throws when the argument is not a `detach`: a reduction couples tokens, and its gradient would
 * need a second pass.
 */
export function reduction(op: ReductionOp, argument: Expression): Expression {
  assert(
    argument.op === "detach",
    `${op}: its argument must be a detach (write x.detach() before it), got ${argument.op}`,
  )
  return new Expression(op, [argument])
}

export function operand(value: Operand): Expression {
  return typeof value === "number" ? constant(value) : value
}

export function isReduction(op: Op): op is ReductionOp {
  return (REDUCTION as readonly Op[]).includes(op)
}

/** The nodes of `roots` and all below them, each once, arguments before their users. */
export function topologicalOrder(roots: readonly Expression[]): Expression[] {
  const order: Expression[] = []
  const seen = new Set<Expression>()
  // An explicit stack: a long chain of nodes must not exhaust the call stack.
  const stack = roots.map((node) => ({ node, next: 0 })).reverse()
  while (stack.length > 0) {
    const top = stack.at(-1)!
    if (seen.has(top.node)) {
      stack.pop()
    } else if (top.next < top.node.args.length) {
      stack.push({ node: top.node.args[top.next++]!, next: 0 })
    } else {
      seen.add(top.node)
      order.push(top.node)
      stack.pop()
    }
  }
  return order
}
