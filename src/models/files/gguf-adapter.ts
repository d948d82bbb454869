import { InputError } from "../../errors.ts"
import type { GgufScalar, GgufTensor } from "../../formats/index.ts"
import { type LoraSpec, loraName, loraScale } from "../adapters/lora.ts"
import { layerPrefix, linearLayers } from "../block/parameters.ts"
import type { ModelConfig } from "../families/model-config.ts"
import { ggufFamily, ggufName, interleavedHeads } from "./gguf.ts"

interface Adapter {
  readonly spec: LoraSpec
  /** By PEFT's names. */
  readonly values: ReadonlyMap<string, Float32Array>
}

/**
 * A LoRA adapter for llama.cpp: A and B beside the name of the weight that they change. It has one
 * alpha and divides it by the rank; where a module's scale is another (patterns, rsLoRA), B makes
 * up for it.
 *
 * @throws InputError for modules that llama.cpp stores otherwise than apart
 */
export function ggufAdapter(
  { modelType, shape }: ModelConfig,
  { spec, values }: Adapter,
  { where, name }: { readonly where: string; readonly name: string },
): { readonly metadata: Map<string, GgufScalar>; readonly tensors: GgufTensor[] } {
  if (spec.saved.tensors.size > 0) {
    throw new InputError(
      `${where}: holds whole modules beside its matrices (${spec.saved.names.join(", ")}), for which llama.cpp's adapters have no place; export it merged (--to gguf)`,
    )
  }
  if (spec.useDora) {
    throw new InputError(
      `${where}: is a DoRA adapter, which scales outputs; llama.cpp's adapters only add to them. Export it merged (--to gguf)`,
    )
  }
  const family = ggufFamily(modelType, where)
  const metadata = new Map<string, GgufScalar>([
    ["general.architecture", { kind: "string", value: family.architecture }],
    ["general.type", { kind: "string", value: "adapter" }],
    ["general.name", { kind: "string", value: name }],
    ["adapter.type", { kind: "string", value: "lora" }],
    ["adapter.lora.alpha", { kind: "float32", value: spec.loraAlpha }],
  ])
  const tensors = spec.layers.flatMap((modules, layer) => {
    const linears = linearLayers(shape, shape.layers[layer]!)
    return [...modules].flatMap(([module, update]): GgufTensor[] => {
      const { rank } = update
      const { inFeatures, outFeatures } = linears.get(module)!
      const [a, b] = (["A", "B"] as const).map((factor) =>
        values.get(loraName(layer, module, factor)),
      )
      if (a === undefined || b === undefined) {
        throw new InputError(`${where}: the adapter has no ${module} of layer ${layer}`)
      }
      const path = ggufName(`${layerPrefix(layer)}${module}.weight`, family)
      const by = (loraScale(update, spec) * rank) / spec.loraAlpha
      const scaled = by === 1 ? b : b.map((x) => x * by)
      const turned = family.turnsNeighbours && /self_attn\.[qk]_proj$/.test(module)
      const rows = turned ? interleavedHeads(scaled, outFeatures, shape.headDim) : scaled
      const tensor = (suffix: string, dims: number[], data: Float32Array): GgufTensor => ({
        name: `${path}.${suffix}`,
        type: "F32",
        shape: dims,
        values: async () => data,
      })
      return [tensor("lora_a", [rank, inFeatures], a), tensor("lora_b", [outFeatures, rank], rows)]
    })
  })
  return { metadata, tensors }
}
