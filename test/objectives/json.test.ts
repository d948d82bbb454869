import { expect, test } from "vitest"
import { InputError } from "../../src/errors.ts"
import {
  evaluate,
  expressionFromJson,
  expressionToJson,
  input,
  objectiveFromJson,
  objectiveToJson,
  tokenObjective,
} from "../../src/objectives/index.ts"

const dft = tokenObjective("dft", ({ logp }) => logp.exp().detach().times(logp).negate())

test("the JSON of DFT is the one in docs/architecture.md", () => {
  expect(objectiveToJson(dft)).toEqual({
    version: 1,
    name: "dft",
    normalization: "tokens",
    nodes: [
      { op: "input", name: "logp" },
      { op: "exp", args: [0] },
      { op: "detach", args: [1] },
      { op: "mul", args: [2, 0] },
      { op: "neg", args: [3] },
    ],
    output: 4,
  })
})

test("an expression comes back from JSON with its meaning and its sharing", () => {
  const logp = input("logp")
  const shared = logp.exp().detach()
  const f = shared.times(shared.max(0.1)).times(logp).plus(input("progress"))
  const json = JSON.parse(JSON.stringify(expressionToJson(f)))
  expect(expressionToJson(expressionFromJson(json))).toEqual(expressionToJson(f))
  const columns = { logp: Float64Array.of(-1, -3), progress: 0.25 }
  expect(evaluate(expressionFromJson(json), columns, [0, 0])).toEqual(evaluate(f, columns, [0, 0]))
})

test("a very long chain is no trouble", () => {
  let f = input("logp")
  for (let k = 0; k < 2000; k++) f = f.negate()
  expect(expressionToJson(expressionFromJson(expressionToJson(f))).nodes).toHaveLength(2001)
})

const node = (...nodes: unknown[]) => ({ nodes, output: nodes.length - 1 })
const logp = { op: "input", name: "logp" }

const hostile: { what: string; json: unknown; says: string }[] = [
  { what: "not an object", json: null, says: "expected an object" },
  { what: "no nodes", json: { nodes: [], output: 0 }, says: "1 to 4096" },
  { what: "too many nodes", json: node(...Array(5000).fill(logp)), says: "got 5000" },
  { what: "an unknown op", json: node({ op: "eval", args: [] }), says: "nodes[0].op" },
  { what: "an op of Object's", json: node({ op: "constructor", args: [] }), says: "nodes[0].op" },
  { what: "an unknown input", json: node({ op: "input", name: "labels" }), says: "token_class" },
  { what: "a private input", json: node({ op: "input", name: "reduction_0" }), says: "name" },
  { what: "a constant NaN", json: node({ op: "constant", value: Number.NaN }), says: "finite" },
  { what: "a string constant", json: node({ op: "constant", value: "1" }), says: "finite" },
  { what: "a forward reference", json: node(logp, { op: "exp", args: [1] }), says: "earlier node" },
  { what: "a fraction as index", json: node(logp, { op: "exp", args: [0.5] }), says: "args[0]" },
  { what: "the wrong arity", json: node(logp, { op: "mul", args: [0] }), says: "takes 2" },
  {
    what: "a bare reduction",
    json: node(logp, { op: "sequence_mean", args: [0] }),
    says: "detach",
  },
  { what: "an output out of range", json: { nodes: [logp], output: 1 }, says: "output" },
  { what: "no version", json: { ...node(logp), name: "x" }, says: "version" },
  { what: "a name of a path", json: { ...node(logp), version: 1, name: "../x" }, says: "name" },
  {
    what: "an unknown normalization",
    json: { ...node(logp), version: 1, name: "x", normalization: "mean" },
    says: "normalization",
  },
  {
    what: "nothing that trains",
    json: { ...node(logp, { op: "detach", args: [0] }), version: 1, name: "x" },
    says: "no gradient",
  },
]

test.each(hostile)("JSON with $what is refused", ({ json, says }) => {
  expect(() => objectiveFromJson(json)).toThrow(InputError)
  expect(() => objectiveFromJson(json)).toThrow(says)
})
