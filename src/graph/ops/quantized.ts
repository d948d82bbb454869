import { InputError } from "../../errors.ts"
import { type NdArray, ndarray } from "../ndarray.ts"
import type { OpRow } from "../tensor.ts"

/** The codes of row-major bytes: one a byte, or two, the low half first. */
function codesOf({ data }: NdArray, bits: 4 | 8): Float64Array {
  if (bits === 8) return data
  const codes = new Float64Array(2 * data.length)
  data.forEach((byte, i) => {
    codes[2 * i] = byte & 15
    codes[2 * i + 1] = byte >> 4
  })
  return codes
}

export const quantized = {
  // codes u8 [out, groups * groupSize * bits / 8], scales f32 and zeros u8 [out, groups]
  //   -> (code - zero) * scale, [out, inFeatures]
  dequantize: {
    type: ([codes, scales, zeros], { bits, groupSize, inFeatures }) => {
      const [rows, groups] = scales!.shape as [number, number]
      const fits =
        codes!.dtype === "u8" &&
        zeros!.dtype === "u8" &&
        `${codes!.shape}` === `${[rows, (groups * groupSize * bits) / 8]}` &&
        `${zeros!.shape}` === `${scales!.shape}` &&
        groups === Math.ceil(inFeatures / groupSize)
      if (!fits) {
        throw new InputError(
          `expected codes u8 [out, groups * ${groupSize} * ${bits} / 8] with scales and zeros [out, groups]`,
        )
      }
      return { dtype: "f32", shape: [rows, inFeatures] }
    },
    gradient: () => [null, null, null], // codes are frozen
    evaluate: ([codes, scales, zeros], node) => {
      const { bits, groupSize, inFeatures } = node.attributes
      const [rows, groups] = scales!.shape as [number, number]
      const values = codesOf(codes!, bits)
      const result = ndarray([rows, inFeatures])
      for (let row = 0; row < rows; row++) {
        for (let i = 0; i < inFeatures; i++) {
          const group = row * groups + Math.floor(i / groupSize)
          const code = values[row * groups * groupSize + i]!
          result.data[row * inFeatures + i] = (code - zeros!.data[group]!) * scales!.data[group]!
        }
      }
      return result
    },
  } satisfies OpRow<"dequantize">,
}
