/** Reads or loads a model folder once and prints seconds and memory as JSON: `load.ts` runs it in turns. */
import { open } from "node:fs/promises"
import { join } from "node:path"
import { peakMemory } from "../../src/host/peak-memory.ts"
import { loadModel, loadQuantizedModel } from "../../src/models/files/index.ts"

/** One read call, far above what makes a call's cost matter. */
const READ_BYTES = 1 << 26

/** The file's bytes into fresh memory of their size, nothing else. */
async function readFile(folder: string): Promise<unknown> {
  const handle = await open(join(folder, "model.safetensors"), "r")
  const { size } = await handle.stat()
  const bytes = new Uint8Array(size)
  for (let at = 0; at < size; ) {
    at += (await handle.read(bytes, at, Math.min(READ_BYTES, size - at), at)).bytesRead
  }
  await handle.close()
  return bytes
}

const WAYS: Readonly<Record<string, (folder: string) => Promise<unknown>>> = {
  read: readFile,
  load: (folder) => loadModel(folder),
  int8: (folder) => loadQuantizedModel(folder, { bits: 8 }),
  int4: (folder) => loadQuantizedModel(folder, { bits: 4 }),
}

const [way, folder] = process.argv.slice(2)
const before = process.memoryUsage().rss
const start = performance.now()
const held = await WAYS[way!]!(folder!)
const seconds = (performance.now() - start) / 1000
const peak = peakMemory() - before
console.log(JSON.stringify({ seconds, peak_bytes: peak, held: held !== undefined }))
