import { expect, test } from "vitest"
import { InputError } from "../../src/errors.ts"
import { apply, concat, graph, input, ndarray, type Tensor } from "../../src/graph/index.ts"
import { interpret } from "../../src/runtime/index.ts"

const x = input("x", [4, 3])
const w = input("w", [5, 2])
const ids = input("ids", [4], "i64")

/** The message names the op, every tensor with its shape, and what does not fit. */
const wrong: readonly (readonly [name: string, f: () => Tensor, message: string])[] = [
  ["product", () => x.matmul(w), "matmul(x [4, 3], w [5, 2]): the inner sizes 3 and 5 differ"],
  ["rank", () => x.matmul(ids.cast("f32")), "matmul(x [4, 3], cast [4]): a product needs two axes"],
  ["add", () => x.add(w), "add(x [4, 3], w [5, 2]): shapes [4, 3] and [5, 2] do not fit together"],
  ["types", () => x.add(ids), "add(x [4, 3], ids [4]): the types f32 and i64 differ"],
  ["where", () => x.where(x, x), "where(x [4, 3], x [4, 3], x [4, 3]): the condition must be bool"],
  ["reshape", () => x.reshape([5, 2]), "reshape(x [4, 3]): cannot take the shape [5, 2]"],
  ["transpose", () => x.transpose([0, 0]), "transpose(x [4, 3]): [0,0] is no permutation of 2"],
  ["expand", () => x.expand([2, 3]), "expand(x [4, 3]): shapes [4, 3] and [2, 3] do not fit"],
  ["slice", () => x.slice(0, 2, 6), "slice(x [4, 3]): slice 2..6 is outside axis 0 of size 4"],
  ["axis", () => x.slice(2, 0, 1), "slice(x [4, 3]): axis 2 does not exist in rank 2"],
  ["concat", () => concat([x, w], 0), "concat(x [4, 3], w [5, 2]): the parts differ beside axis 0"],
  ["rmsNorm", () => x.rmsNorm(w, 1e-6), "rmsNorm(x [4, 3], w [5, 2]): the weight must have one"],
  ["rotary", () => x.rotary(w, w), "rotary(x [4, 3], w [5, 2], w [5, 2]): expected x [T, H, D]"],
  ["reduceMax", () => x.reduceMax(0), "reduceMax(x [4, 3]): reduceMax works on the last axis only"],
  ["topK", () => x.topK(7), "topK(x [4, 3]): k = 7 of 3 values"],
  ["sum", () => x.sum(5), "sum(x [4, 3]): axis 5 does not exist in rank 2"],
  ["gather", () => x.gather(w), "gather(x [4, 3], w [5, 2]): the ids must be whole numbers"],
  [
    "gatherElements",
    () => x.gatherElements(w),
    "gatherElements(x [4, 3], w [5, 2]): the ids must be whole numbers",
  ],
  [
    "scatterAdd",
    () => x.scatterAdd(ids, w),
    "scatterAdd(x [4, 3], ids [4], w [5, 2]): expected rows [4, 3]",
  ],
  ["sigmoid of integers", () => ids.sigmoid(), "sigmoid(ids [4]): expected f32, got i64"],
  [
    "product of integers",
    () =>
      apply("matmul", [ids.reshape([2, 2]), ids.reshape([2, 2])], {
        transA: false,
        transB: false,
        alpha: 1,
      }),
    "matmul(reshape [2, 2], reshape [2, 2]): expected f32, got i64",
  ],
]

test.each(wrong)("%s: a shape that does not fit is named", (_name, f, message) => {
  expect(f).toThrow(InputError)
  expect(f).toThrow(message)
})

test("two inputs of one name, and an output named like an input", () => {
  const other = input("x", [4, 1])
  expect(() => graph("g", { y: x.add(other) })).toThrow("g: two inputs named x")
  expect(() => graph("g", { x: x.exp() })).toThrow("g: x is an input too")
})

test("an input that was not fed is named", () => {
  expect(() => interpret(graph("g", { y: x.exp() }), { z: ndarray([1]) })).toThrow(
    "g: the input x was not given",
  )
})
