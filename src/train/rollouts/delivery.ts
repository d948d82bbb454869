/** How a server that samples gets the weights. */
import { spawn } from "node:child_process"
import { existsSync, readdirSync, realpathSync } from "node:fs"
import { cp, mkdir, rename, rm, writeFile } from "node:fs/promises"
import { join } from "node:path"
import type { EndpointSourceConfig } from "../../config/rollout-schema.ts"
import { InputError } from "../../errors.ts"
import { removeLeft, temporaryName } from "../../formats/atomic.ts"
import { boundedText } from "../../host/bounded-text.ts"
import { weightsHash } from "../../models/files/weights-hash.ts"

export interface DeliveryParts {
  readonly config: EndpointSourceConfig
  /** Where what is delivered is written. */
  readonly folder: string
  /** Writes the policy as it is. */
  readonly write: (folder: string) => Promise<void>
}

/** Seconds that a server may take to read a model. */
const SECONDS = 300
/** In a folder that a delivery has made. */
const MARK = ".dftune-delivered"

/**
 * A folder that is replaced must be nobody's: not there, empty, made by a delivery, or a copy of
 * the model that is trained, which a server needs to begin with.
 *
 * @throws InputError for any other
 */
export function checkDelivery({ sync }: EndpointSourceConfig, modelFolder: string): void {
  if (typeof sync === "string" || !("folder" in sync)) return
  const { folder } = sync
  if (!existsSync(folder) || readdirSync(folder).length === 0) return
  if (existsSync(join(folder, MARK))) return
  const isModel = realpathSync(folder) === realpathSync(modelFolder)
  if (!isModel && isCopy(folder, modelFolder)) return
  throw new InputError(
    `rollout.source.sync.folder: ${folder}: ${isModel ? "is the model that is trained" : "holds something that no run delivered, and no copy of the model"}, and each rollout replaces it; name a folder that is not there yet, or copy the model to one of its own for the server to begin with`,
  )
}

function isCopy(folder: string, modelFolder: string): boolean {
  try {
    return weightsHash(folder) === weightsHash(modelFolder)
  } catch {
    return false // no model at all
  }
}

/** @throws InputError when the server was not told */
export async function deliver(
  { config, folder, write }: DeliveryParts,
  number: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const path = join(folder, `rollout-${number}`)
  await rm(folder, { recursive: true, force: true })
  await mkdir(path, { recursive: true })
  await write(path)
  const { sync } = config
  if (typeof sync === "string") return runCommand(sync, { path, number }, signal)
  if ("folder" in sync) return replaceFolder(path, sync.folder)
  return postSync(sync, { path, number, model: config.model }, signal)
}

/** In two renames: a server that reads it between them finds nothing, and not half of each. */
async function replaceFolder(from: string, to: string): Promise<void> {
  // names that nobody else gives a folder
  const [fresh, old] = [temporaryName(to), temporaryName(to)]
  removeLeft(to)
  await cp(from, fresh, { recursive: true })
  await rename(to, old).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error
  })
  await writeFile(join(fresh, MARK), "")
  await rename(fresh, to)
  await rm(old, { recursive: true, force: true })
}

interface Delivery {
  readonly path: string
  readonly number: number
}

function runCommand(
  command: string,
  { path, number }: Delivery,
  signal: AbortSignal | undefined,
): Promise<void> {
  const env = { ...process.env, DFTUNE_MODEL: path, DFTUNE_ROLLOUT: String(number) }
  const limit = AbortSignal.timeout(1000 * SECONDS)
  const child = spawn(command, {
    ...{ shell: true, env, stdio: ["ignore", "ignore", "pipe"] as const },
    signal: signal ? AbortSignal.any([signal, limit]) : limit,
  })
  let said = ""
  child.stderr!.setEncoding("utf8").on("data", (part: string) => {
    said = (said + part).slice(-500)
  })
  return new Promise((done, fail) => {
    const failed = (how: string) =>
      fail(new InputError(`rollout.source.sync: ${command}: ${how}${said && `: ${said.trim()}`}`))
    child.once("error", (error) => {
      if (signal?.aborted) fail(signal.reason)
      else failed(limit.aborted ? `took longer than ${SECONDS} s` : error.message)
    })
    child.once("close", (code) => (code === 0 ? done() : failed(`ended with ${code}`)))
  })
}

async function postSync(
  { url, body }: { readonly url: string; readonly body: Readonly<Record<string, unknown>> },
  { path, number, model }: Delivery & { readonly model: string },
  signal: AbortSignal | undefined,
): Promise<void> {
  const places: Readonly<Record<string, string>> = { path, rollout: String(number), model }
  const filled = JSON.stringify(body, (_, value: unknown) =>
    typeof value === "string"
      ? value.replaceAll(/\{(path|rollout|model)\}/g, (_all, name: string) => places[name]!)
      : value,
  )
  const limit = AbortSignal.timeout(1000 * SECONDS)
  try {
    const response = await fetch(url, {
      ...{ method: "POST", headers: { "content-type": "application/json" }, body: filled },
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    })
    if (response.ok) return
    const said = ((await boundedText(response)) ?? "").slice(0, 300)
    throw new InputError(`rollout.source.sync: ${url}: ${response.status}: ${said}`)
  } catch (error) {
    signal?.throwIfAborted()
    if (error instanceof InputError) throw error
    throw new InputError(`rollout.source.sync: ${url}: ${(error as Error).message}`)
  }
}
