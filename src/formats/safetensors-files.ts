import { replaceFile } from "./atomic.ts"
import { openFile } from "./disk-folder.ts"
import { writeAll } from "./file-bytes.ts"
import {
  readSafetensors,
  safetensorsPieces,
  type TensorReader,
  type TensorToWrite,
} from "./safetensors.ts"

/**
 * Opens one safetensors file; its header is checked against its size first.
 *
 * @throws InputError naming the file (and the tensor) for anything missing, damaged or unknown.
 */
export async function openSafetensors(path: string): Promise<TensorReader> {
  return readSafetensors(await openFile(path))
}

/**
 * Writes one safetensors file atomically, a tensor at a time.
 *
 * @param metadata goes into `__metadata__`; Transformers wants `{ format: "pt" }` there.
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<TensorToWrite>,
  metadata?: Readonly<Record<string, string>>,
): Promise<void> {
  await replaceFile(path, async (handle) => {
    for await (const piece of safetensorsPieces(tensors, metadata)) await writeAll(handle, piece)
  })
}
