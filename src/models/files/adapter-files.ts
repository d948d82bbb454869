import { join } from "node:path"
import { diskFolder, writeFileAtomic, writeSafetensors } from "../../formats/index.ts"
import { refuseEndlessMatches } from "../../text/pattern-time.ts"
import type { DecoderShape, TensorSource } from "../families/shape.ts"
import { type AdapterConfig, type AdapterFiles, adapterConfig } from "./adapter-config.ts"
import {
  ADAPTER_CONFIG,
  ADAPTER_TENSORS,
  adapterConfigIn,
  readAdapterIn,
} from "./adapter-format.ts"
import { storedTensors } from "./stored-tensors.ts"

/**
 * Writes adapter_config.json and adapter_model.safetensors, which PEFT loads. `tensors` have PEFT's
 * names (`loraName`), float32.
 */
export async function saveAdapter(
  folder: string,
  { tensors, ...files }: AdapterFiles & { readonly tensors: readonly TensorSource[] },
): Promise<void> {
  await writeSafetensors(join(folder, ADAPTER_TENSORS), storedTensors(tensors, "float32"))
  const json = `${JSON.stringify(adapterConfig(files), null, 2)}\n`
  await writeFileAtomic(join(folder, ADAPTER_CONFIG), json)
}

/**
 * {@link adapterConfigIn} of an adapter's folder on the disk, no expression of which takes for
 * ever.
 */
export async function readAdapterConfig(folder: string): Promise<AdapterConfig> {
  const config = await adapterConfigIn(diskFolder(folder))
  const { targetModules, excludeModules, rankPattern, alphaPattern } = config.options
  const expressions = [targetModules, excludeModules].filter((names) => typeof names === "string")
  const keys = [...Object.keys(rankPattern ?? {}), ...Object.keys(alphaPattern ?? {})]
  const ends = keys.map((key) => `(?:.*\\.)?(?:${key})`)
  refuseEndlessMatches([...expressions, ...ends], MODULES, join(folder, ADAPTER_CONFIG))
  return config
}

/** Such as an adapter's expressions are held to, and what they may be one letter off from. */
const MODULES = ["self_attn.q_proj", "mlp.down_proj"].flatMap((module) => {
  const path = `model.layers.10.${module}`
  return [path, `${path}!`]
})

/** {@link readAdapterIn} of an adapter's folder on the disk. */
export async function readAdapter(folder: string, shape: DecoderShape) {
  return readAdapterIn(diskFolder(folder), await readAdapterConfig(folder), shape)
}
