/**
 * An expression as JSON and back (docs/architecture.md, seam 2). What comes back is checked: it may
 * come from a stranger.
 */
import { InputError } from "../errors.ts"
import {
  BINARY,
  COMPARISON,
  Expression,
  type InputName,
  type Op,
  REDUCTION,
  RUN_INPUTS,
  TOKEN_INPUTS,
  topologicalOrder,
  UNARY,
} from "./expression.ts"

export type NodeJson =
  | { readonly op: "input"; readonly name: InputName }
  | { readonly op: "constant"; readonly value: number }
  | { readonly op: Exclude<Op, "input" | "constant">; readonly args: readonly number[] }

export interface ExpressionJson {
  /** In topological order: arguments are indices of earlier nodes. */
  readonly nodes: readonly NodeJson[]
  readonly output: number
}

/**
 * An objective of the family has under 40 nodes; this bounds what a stranger's file can make us
 * hold.
 */
export const MAX_NODES = 4096

const INPUTS: readonly string[] = [...TOKEN_INPUTS, ...RUN_INPUTS]

const ARITY: Readonly<Record<string, number>> = Object.fromEntries([
  ...[...UNARY, ...REDUCTION].map((op) => [op, 1]),
  ...[...BINARY, ...COMPARISON].map((op) => [op, 2]),
  ["where", 3],
])

export function expressionToJson(expression: Expression): ExpressionJson {
  const { nodes, indexOf } = nodesToJson([expression])
  return { nodes, output: indexOf(expression) }
}

/** The nodes of several expressions, those they share once. */
export function nodesToJson(roots: readonly Expression[]): {
  readonly nodes: NodeJson[]
  readonly indexOf: (expression: Expression) => number
} {
  const order = topologicalOrder(roots)
  const indices = new Map(order.map((node, index) => [node, index]))
  const indexOf = (node: Expression) => indices.get(node)!
  const nodes = order.map((node): NodeJson => {
    if (node.op === "input") return { op: "input", name: node.name as InputName }
    if (node.op === "constant") return { op: "constant", value: node.value! }
    return { op: node.op, args: node.args.map(indexOf) }
  })
  return { nodes, indexOf }
}

/** Throws InputError naming the node. `where` says in messages where the JSON came from. */
export function expressionFromJson(json: unknown, where = "objective"): Expression {
  return expressionFromNodes(nodesFromJson(json, where), record(json, where).output, where)
}

export function expressionFromNodes(
  built: readonly Expression[],
  output: unknown,
  where: string,
): Expression {
  return built[nodeIndex(output, built, `${where}.output`)]!
}

/** The index of one of the nodes. */
export function nodeIndex(value: unknown, built: readonly Expression[], where: string): number {
  return indexBelow(value, built.length, where)
}

/** All nodes of `json.nodes`, in their order. */
export function nodesFromJson(json: unknown, where: string): Expression[] {
  const { nodes } = record(json, where)
  if (!Array.isArray(nodes) || nodes.length === 0 || nodes.length > MAX_NODES) {
    const came = Array.isArray(nodes) ? `${nodes.length}` : typeof nodes
    throw new InputError(`${where}.nodes: expected a list of 1 to ${MAX_NODES} nodes, got ${came}`)
  }
  const built: Expression[] = []
  nodes.forEach((node: unknown, index) => {
    built.push(nodeFromJson(node, built, `${where}.nodes[${index}]`))
  })
  return built
}

function nodeFromJson(json: unknown, earlier: readonly Expression[], where: string): Expression {
  const { op, name, value, args } = record(json, where)
  if (op === "input") {
    if (typeof name === "string" && INPUTS.includes(name)) {
      return new Expression("input", [], { name: name as InputName })
    }
    throw new InputError(`${where}.name: expected one of ${INPUTS.join(", ")}, got ${shown(name)}`)
  }
  if (op === "constant") {
    if (typeof value === "number" && Number.isFinite(value)) {
      return new Expression("constant", [], { value })
    }
    throw new InputError(`${where}.value: expected a finite number, got ${shown(value)}`)
  }
  if (typeof op !== "string" || !Object.hasOwn(ARITY, op)) {
    const ops = ["input", "constant", ...Object.keys(ARITY)].join(", ")
    throw new InputError(`${where}.op: expected one of ${ops}, got ${shown(op)}`)
  }
  const arity = ARITY[op]!
  if (!Array.isArray(args) || args.length !== arity) {
    throw new InputError(`${where}.args: ${op} takes ${arity}, got ${shown(args)}`)
  }
  const built = args.map((arg: unknown, index) => {
    return earlier[indexBelow(arg, earlier.length, `${where}.args[${index}]`)]!
  })
  if ((REDUCTION as readonly string[]).includes(op) && built[0]!.op !== "detach") {
    throw new InputError(`${where}: the argument of ${op} must be a detach, got ${built[0]!.op}`)
  }
  return new Expression(op as Op, built)
}

function record(json: unknown, where: string): Record<string, unknown> {
  if (typeof json === "object" && json !== null && !Array.isArray(json)) {
    return json as Record<string, unknown>
  }
  throw new InputError(`${where}: expected an object, got ${shown(json)}`)
}

function indexBelow(value: unknown, bound: number, where: string): number {
  if (Number.isInteger(value) && (value as number) >= 0 && (value as number) < bound) {
    return value as number
  }
  throw new InputError(`${where}: expected the index of an earlier node, got ${shown(value)}`)
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? String(value)).slice(0, 80)
}
