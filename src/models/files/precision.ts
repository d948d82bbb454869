import type { DeviceOptions, Precision } from "../../runtime/index.ts"
import { bf16Kernel, mayHaveGpu } from "../../runtime/node.ts"
import { weightCount } from "../block/parameters.ts"
import type { DecoderShape } from "../families/shape.ts"

/** A smaller model gains little time, and its numbers stay what they were. */
const LEAST_BF16_PARAMETERS = 50e6

export interface AskedPrecision {
  readonly dtype: "auto" | Precision
  readonly device: NonNullable<DeviceOptions["device"]>
}

/**
 * What `dtype` stands for on this machine: "auto" is bf16 where the CPU computes it, nothing faster
 * may be there, and the model is large enough to gain.
 */
export function resolvedPrecision(
  { dtype, device }: AskedPrecision,
  model: DecoderShape,
): Precision {
  if (dtype !== "auto") return dtype
  const isCpu = device === "cpu" || (device === "auto" && !mayHaveGpu())
  const isLarge = weightCount(model) >= LEAST_BF16_PARAMETERS
  return isCpu && isLarge && bf16Kernel() !== undefined ? "bf16" : "fp32"
}
