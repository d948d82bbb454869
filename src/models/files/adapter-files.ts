import { join } from "node:path"
import { diskFolder, writeFileAtomic, writeSafetensors } from "../../formats/index.ts"
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

/** {@link adapterConfigIn} of an adapter's folder on the disk. */
export function readAdapterConfig(folder: string): Promise<AdapterConfig> {
  return adapterConfigIn(diskFolder(folder))
}

/** {@link readAdapterIn} of an adapter's folder on the disk. */
export function readAdapter(folder: string, shape: DecoderShape) {
  return readAdapterIn(diskFolder(folder), shape)
}
