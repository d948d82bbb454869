import { InputError } from "../../../errors.ts"
import { type Dim, stepsOf, type Tensor } from "../../../graph/index.ts"
import type { LoweringTable } from "../lowering.ts"

const SOFTCAP = "attention over a cache with a soft cap (attn_logit_softcapping)"

export const cache = {
  cachedAttention: (emit, inputs, node) => {
    const [q, , , past] = node.inputs as [Tensor, Tensor, Tensor, Tensor]
    const [batch, kvHeads, , headDim] = past.shape as [Dim, number, unknown, number]
    const [rows, width] = q.shape as [Dim, number]
    const { scale, softcap, window } = node.attributes
    if (softcap !== undefined && emit.lacks.has("softcap")) {
      throw new InputError(`${SOFTCAP} has no kernel on this device; set device: cpu`)
    }
    const [queries, keys, values, ...rest] = inputs
    const steps = stepsOf(rows, batch)
    // Without numbers B is read off the cache, and S is what is left.
    const shapeOf = (columns: number) =>
      typeof steps === "number"
        ? emit.constant("i64", [3], [batch as number, steps, columns])
        : emit.node(
            "Concat",
            [
              emit.node("Shape", [rest[0]!], { start: { i: 0 }, end: { i: 1 } }),
              emit.constant("i64", [2], [-1, columns]),
            ],
            { axis: { i: 0 } },
          )
    const split = (name: string, columns: number) => emit.node("Reshape", [name, shapeOf(columns)])
    return emit.node(
      "GroupQueryAttention",
      [
        split(queries!, width),
        split(keys!, kvHeads * headDim),
        split(values!, kvHeads * headDim),
        ...rest,
      ],
      {
        num_heads: { i: width / headDim },
        kv_num_heads: { i: kvHeads },
        ...(scale === undefined ? {} : { scale: { f: scale } }),
        ...(softcap === undefined ? {} : { softcap: { f: softcap } }),
        ...(window === undefined ? {} : { local_window_size: { i: window } }),
      },
      "com.microsoft",
      3,
    )
  },

  cacheAfter: (_emit, [attention], { attributes: { part } }) =>
    attention!.replace(/_0$/, part === "keys" ? "_1" : "_2"),
} satisfies Partial<LoweringTable>
