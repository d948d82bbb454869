import type { JsonObject } from "../../formats/json.ts"
import type { TensorEntry, TensorReader } from "../../formats/safetensors.ts"
import type { Parameter } from "../families/shape.ts"
import { type QuantizedScheme, quantizedScheme } from "./quantized-schemes.ts"

/**
 * A quantised checkpoint as if its weights had been stored in float32: each is dequantised when it
 * is read. What is not quantised in it is read as it is.
 *
 * @param where the folder, for errors
 * @throws InputError for a method that is not read
 */
export function dequantized(
  reader: TensorReader,
  config: JsonObject,
  parameters: readonly Parameter[],
  where: string,
): TensorReader {
  const scheme = quantizedScheme(config, where)
  const tensors = new Map(reader.tensors)
  const weights = new Map<string, { readonly module: string; readonly parameter: Parameter }>()
  for (const parameter of parameters) {
    const module = parameter.name.replace(/\.weight$/, "")
    if (parameter.shape.length !== 2 || !reader.tensors.has(`${module}.${scheme.mark}`)) continue
    for (const part of partsOf(scheme, module)) tensors.delete(part)
    const entry: TensorEntry = { dtype: "F32", shape: parameter.shape, begin: 0, end: 0 }
    tensors.set(parameter.name, entry)
    weights.set(parameter.name, { module, parameter })
  }
  const values = async (name: string): Promise<Float32Array | undefined> => {
    const weight = weights.get(name)
    if (weight === undefined) return undefined
    const [outFeatures, inFeatures] = weight.parameter.shape as [number, number]
    return scheme.dequantized({ reader, module: weight.module, outFeatures, inFeatures, where })
  }
  return {
    tensors,
    metadata: reader.metadata,
    read: (name) => reader.read(name),
    async readFloat32(name, into) {
      const found = await values(name)
      if (found === undefined) return reader.readFloat32(name, into)
      into?.set(found)
      return into ?? found
    },
    async readRows(name, row, into) {
      const found = await values(name)
      if (found === undefined) return reader.readRows(name, row, into)
      const columns = weights.get(name)!.parameter.shape[1]!
      into.set(found.subarray(row * columns, row * columns + into.length))
    },
    close: () => reader.close(),
  }
}

const partsOf = ({ parts }: QuantizedScheme, module: string): string[] =>
  parts.map((part) => `${module}.${part}`)
