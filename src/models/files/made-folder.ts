/**
 * Folders of the cache that stand for a model that lies elsewhere: a GGUF file, a model with more
 * tokens.
 */
import { existsSync, readdirSync, realpathSync, rmSync } from "node:fs"
import { dirname, join } from "node:path"
import { InputError } from "../../errors.ts"
import { makeFolder } from "../../formats/atomic.ts"
import {
  fileHash,
  isObject,
  type JsonObject,
  parseJson,
  writeFileAtomic,
} from "../../formats/index.ts"
import { plainText } from "../../formats/plain-file.ts"
import { cacheFolder } from "../../host/cache-folder.ts"

interface Kind {
  /** In the cache. */
  readonly under: string
  /** The file that says what the folder stands for; it is written last. */
  readonly pointer: string
}

interface Making extends Kind {
  /** A hash of all that the folder is made of. */
  readonly key: string
  /** Writes the folder's files; @returns what the pointer says. */
  readonly make: (folder: string) => Promise<JsonObject>
  readonly onNotice?: ((message: string) => void) | undefined
}

/** Those that this process has made or looked through. */
const known = new Set<string>()

/**
 * The folder of a key: made where there is none, and anew where a file of it is not what was
 * written. Hashed once a process: a tokenizer of 35 MB takes 0.1 s.
 */
export async function madeFolder({ under, pointer, key, make, onNotice }: Making): Promise<string> {
  const folder = join(cacheFolder(), under, key.slice(0, 32))
  if (existsSync(join(folder, pointer))) {
    if (known.has(folder)) return folder
    const damage = await damageOf(folder, pointer)
    if (damage === undefined) {
      known.add(folder)
      return folder
    }
    rmSync(folder, { recursive: true, force: true })
    onNotice?.(`${folder}: was damaged (${damage}) and is made anew; nothing is lost`)
  }
  makeFolder(folder)
  const says = await make(folder)
  const files = await hashesOf(folder, pointer)
  await writeFileAtomic(join(folder, pointer), JSON.stringify({ ...says, files }))
  known.add(folder)
  return folder
}

async function hashesOf(folder: string, pointer: string): Promise<Record<string, string>> {
  const hashes: Record<string, string> = {}
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const name = join(entry.parentPath, entry.name).slice(folder.length + 1)
    // another process may be making the same
    if (entry.isDirectory() || name === pointer || name.endsWith(".tmp")) continue
    hashes[name] = await fileHash(join(folder, name))
  }
  return hashes
}

async function damageOf(folder: string, pointer: string): Promise<string | undefined> {
  try {
    const said: unknown = JSON.parse(plainText(join(folder, pointer)))
    if (!isObject(said) || !isObject(said.files)) return `${pointer} is not what was written`
    const there = await hashesOf(folder, pointer)
    const names = Object.keys({ ...said.files, ...there }).sort()
    const wrong = names.find((name) => there[name] !== (said.files as JsonObject)[name])
    if (wrong === undefined) return undefined
    return `${wrong} is ${wrong in there ? "not what was written" : "gone"}`
  } catch {
    return `${pointer} is not what was written` // half a file, or a pipe
  }
}

/**
 * What a folder's pointer says; undefined: the folder stands for nothing else. Only the cache's own
 * are followed: a stranger's folder may not name another place to take weights from.
 *
 * @throws InputError for a pointer in any other folder, and for one that is not JSON
 */
export function pointerOf(folder: string, { under, pointer }: Kind): JsonObject | undefined {
  const path = join(folder, pointer)
  if (!existsSync(path)) return undefined
  const own = join(cacheFolder(), under)
  if (!existsSync(own) || dirname(realpathSync(folder)) !== realpathSync(own)) {
    throw new InputError(
      `${path}: sends to another place for the weights, which only dftune's own cache may do; remove it, or give the model that was meant`,
    )
  }
  const says = parseJson(plainText(path), path)
  return isObject(says) ? says : {}
}
