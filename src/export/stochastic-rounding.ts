/**
 * Rounding to 16 bits whose error is zero on average. An adapter's change is often smaller than
 * half a step of the base's type, and to nearest all of it is lost; rounded up with the probability
 * that lies between the two neighbours, the change stays in the mean, and what is added is noise
 * that the sum over a row's inputs mostly cancels (`npm run bench -- merge-rounding`).
 */
import { assert, InputError } from "../errors.ts"
import type { TensorSource } from "../models/index.ts"
import { randomStream } from "../random.ts"
import type { Rounding } from "./names.ts"

type HalfDtype = "bfloat16" | "float16"

/** By the names of checkpoints and of GGUF. */
const HALF: { readonly [stored: string]: HalfDtype } = {
  bfloat16: "bfloat16",
  bf16: "bfloat16",
  float16: "float16",
  f16: "float16",
}

/** float32's mantissa bits that the type has no room for. */
const DROPPED = { bfloat16: 16, float16: 13 } as const
/** Below this float16's steps no longer shrink. */
const LEAST_NORMAL_F16 = 2 ** -14
const LEAST_STEP_F16 = 2 ** -24

/**
 * Rounds float32 values in place to ones that the type holds: each to one of its two neighbours
 * there, to the upper with a probability of its distance from the lower, in steps. What the type
 * holds stays.
 */
export function stochasticallyRounded(
  values: Float32Array,
  dtype: HalfDtype,
  random: () => number,
): Float32Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length)
  const dropped = DROPPED[dtype]
  const kept = (0xffffffff << dropped) >>> 0
  for (let i = 0; i < bits.length; i++) {
    const value = values[i]!
    if (!Number.isFinite(value)) continue
    if (dtype === "float16" && Math.abs(value) < LEAST_NORMAL_F16) {
      values[i] = Math.floor(value / LEAST_STEP_F16 + random()) * LEAST_STEP_F16
    } else {
      // a float's bits grow with its magnitude: a carry out of what is dropped is the next one
      bits[i] = ((bits[i]! + Math.floor(random() * 2 ** dropped)) & kept) >>> 0
    }
  }
  return values
}

/**
 * The tensors as `--rounding` has them, rounded as they are read, each time alike.
 *
 * @throws InputError for a type other than the two of 16 bits
 */
export function roundedTensors(
  tensors: readonly TensorSource[],
  stored: string,
  rounding: Rounding,
): readonly TensorSource[] {
  if (rounding === "nearest") return tensors
  const dtype = HALF[stored]
  if (dtype === undefined) {
    throw new InputError(
      `--rounding stochastic: expected weights stored in 16 bits (bf16, f16), got ${stored}`,
    )
  }
  return tensors.map((tensor) => ({
    ...tensor,
    read: async () => {
      const values = await tensor.read()
      assert(values.byteOffset % 4 === 0, "roundedTensors: values that are not aligned")
      return stochasticallyRounded(values, dtype, randomStream(0, `round ${tensor.name}`))
    },
  }))
}
