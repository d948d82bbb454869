import { assert } from "../../errors.ts"
import { ndarray } from "../ndarray.ts"
import type { OpRow } from "../tensor.ts"

/** Nodes without inputs, and the composite, which stands for its first input. */
export const leaves = {
  input: {
    type: () => {
      throw new Error("an input is made by input()")
    },
    gradient: () => [],
    evaluate: (_inputs, node) => {
      throw new Error(`input ${node.attributes.name} was not fed`)
    },
  } satisfies OpRow<"input">,
  constant: {
    type: (_inputs, { data, dtype }) => ({ dtype, shape: [data.length] }),
    gradient: () => [],
    evaluate: (_inputs, node) => ndarray(node.shape as readonly number[], node.attributes.data),
  } satisfies OpRow<"constant">,
  range: {
    type: (_inputs, { size }) => ({ dtype: "i64", shape: [size] }),
    gradient: () => [],
    evaluate: (_inputs, { attributes: { size } }) =>
      ndarray(
        [size],
        Array.from({ length: size }, (_, i) => i),
      ),
  } satisfies OpRow<"range">,
  composite: {
    type: ([output]) => output!,
    gradient: (dy, node) => {
      const inputs = node.inputs.slice(1)
      const result = node.attributes.backward(dy, inputs, node)
      assert(result.length === inputs.length, `${node.attributes.name}: one gradient per input`)
      return [null, ...result]
    },
    evaluate: ([output]) => output!,
  } satisfies OpRow<"composite">,
}
