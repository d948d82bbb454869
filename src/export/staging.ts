import { existsSync } from "node:fs"
import { mkdir, readdir, rename, rm, rmdir } from "node:fs/promises"
import { dirname, join, resolve } from "node:path"
import { InputError } from "../errors.ts"
import { removeLeft, temporaryName, writeError } from "../formats/atomic.ts"
import { flushFolder } from "../formats/index.ts"
import { checkOutputFolder } from "../host/output-place.ts"

async function isEmpty(folder: string): Promise<boolean> {
  return (await readdir(folder)).length === 0
}

/**
 * Refuses a place that an export would harm, before any work is done.
 *
 * @throws InputError
 */
export async function checkPlace(
  out: string,
  { force }: { readonly force: boolean },
): Promise<void> {
  if (/\.(gguf|safetensors)$/.test(out)) {
    throw new InputError(`--out ${out}: expected a folder, got the name of a file`)
  }
  checkOutputFolder(out, { option: "--out" })
  if (!existsSync(out)) return
  if (!force && !(await isEmpty(out))) {
    throw new InputError(
      `--out ${out}: the folder is not empty; give another, or --force to write into it`,
    )
  }
}

/** Weights of an earlier export, which a reader would take beside or in place of the new ones. */
const WEIGHTS =
  /^(adapter_)?model.*\.safetensors(\.index\.json)?$|^adapter_config\.json$|^Modelfile$/

/** Moves every file into place, weights first: a config stands for a model that is whole. */
async function moveInto(stage: string, out: string): Promise<void> {
  const files = await readdir(stage)
  const stale = (await readdir(out)).filter((name) => WEIGHTS.test(name) && !files.includes(name))
  const last = (name: string): number =>
    /^(adapter_)?config\.json$|^Modelfile$/.test(name) ? 1 : 0
  for (const name of files.sort((a, b) => last(a) - last(b))) {
    await rename(join(stage, name), join(out, name))
  }
  for (const name of stale) await rm(join(out, name))
}

/**
 * Lets `write` fill a folder beside `out`, and puts it in place when that has succeeded: `out`
 * holds all of it or is untouched. With `out` not empty its files are replaced one by one and
 * others stay.
 */
export async function stagedFolder<T>(
  out: string,
  write: (stage: string) => Promise<T>,
): Promise<T> {
  const place = resolve(out)
  const stage = temporaryName(place)
  try {
    removeLeft(place)
    await mkdir(stage, { recursive: true })
    const result = await write(stage)
    if (existsSync(place) && (await isEmpty(place))) await rmdir(place)
    if (existsSync(place)) await moveInto(stage, place)
    else await rename(stage, place)
    await flushFolder(dirname(place))
    return result
  } catch (error) {
    throw writeError(error, out)
  } finally {
    await rm(stage, { recursive: true, force: true })
  }
}
