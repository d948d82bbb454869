import { expect, test } from "vitest"
import { ops } from "../../src/graph/ops.ts"
import { difference, seedFor, traced } from "../../src/runtime/conformance/judge.ts"
import {
  type OpCase,
  opCases,
  opsWithCases,
  samples,
  symbols,
} from "../../src/runtime/conformance/op-cases.ts"
import { interpret } from "../../src/runtime/index.ts"
import { finiteDifferences } from "./gradcheck.ts"

test("every op of the closed list has a case", () => {
  expect([...opsWithCases].sort()).toEqual(Object.keys(ops).sort())
})

const reals = ({ args }: OpCase) => args.flatMap(({ dtype }, i) => (dtype === "f32" ? [i] : []))

test.each(opCases)("the gradient of $name equals finite differences", (opCase) => {
  const xs = symbols(opCase)
  const feeds = samples(opCase)
  const output = opCase.f(...xs)
  const wrt = reals(opCase).map((i) => xs[i]!)
  const { forward, backward, reached } = traced(output, wrt)
  const { y } = interpret(forward, feeds)
  if (opCase.constant) {
    expect(reached).toEqual([])
    return
  }
  expect(reached.length).toBeGreaterThan(0)
  const dy = seedFor(y!)
  const found = interpret(backward, { ...feeds, dy })
  for (const name of reached) {
    const expected = finiteDifferences(forward, feeds, name, dy)
    expect(found[`d.${name}`]!.shape).toEqual(feeds[name]!.shape)
    expect(difference(found[`d.${name}`]!.data, expected)).toBeLessThan(1e-8)
  }
})

test.each(opCases.filter((each) => !each.constant))(
  "what $name does not reach has no gradient",
  (opCase) => {
    const xs = symbols(opCase)
    const feeds = samples(opCase)
    const wrt = reals(opCase).map((i) => xs[i]!)
    const { forward, reached } = traced(opCase.f(...xs), wrt)
    const dy = seedFor(interpret(forward, feeds).y!)
    for (const { label } of wrt.filter((x) => !reached.includes(x.label))) {
      // A value that matters but gets no gradient must be behind a detach.
      expect(opCase.f.toString()).toContain("detach")
      expect(finiteDifferences(forward, feeds, label, dy).some((d) => d !== 0)).toBe(true)
    }
  },
)
