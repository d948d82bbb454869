/** A run's own config.json, or its folder, given where a config is expected. */
import { existsSync } from "node:fs"
import { basename, dirname, join, resolve } from "node:path"
import { InputError } from "../errors.ts"
import { isObject } from "../formats/json.ts"
import { jsonOfFile } from "../formats/plain-file.ts"
import { ownPlace } from "../host/own-place.ts"
import { statOf } from "../host/stat.ts"

type Json = Readonly<Record<string, unknown>>

/** Whether a value read from JSON is what a run writes: `{ config, versions }`. */
function isRunRecord(value: unknown): value is { readonly config: Json } {
  return isObject(value) && isObject(value.config) && isObject(value.versions)
}

/** Whether a folder is a run's. */
export function isRunFolder(path: string): boolean {
  return (
    statOf(path)?.isDirectory() === true &&
    existsSync(join(path, "config.json")) &&
    existsSync(join(path, "events.jsonl"))
  )
}

/** The config file that is meant: a run folder stands for its config.json. */
export function configFileOf(path: string): string {
  return isRunFolder(path) ? ownPlace(path, "config.json") : path
}

/**
 * The config that a run recorded. It writes where the record lies, wherever that has been moved.
 */
export function recordedConfig(path: string, { config }: { readonly config: Json }): Json {
  const folder = dirname(resolve(path))
  const recorded = config.output_dir
  const here = typeof recorded === "string" && resolve(recorded) === folder
  const { resume: _, ...settings } = config
  return { ...settings, output_dir: here ? recorded : folder }
}

/** Settings that name a program or a module, which would run with the user's rights. */
export function programKeys(config: unknown): { readonly key: string; readonly value: string }[] {
  if (!isObject(config)) return []
  const { engine, rollout } = config
  const found: { key: string; value: string }[] = []
  const add = (key: string, value: unknown) => {
    if (typeof value === "string") found.push({ key, value })
  }
  if (isObject(engine)) {
    if (engine.python !== "python3") add("engine.python", engine.python)
    if (isObject(engine.device)) add("engine.device.library", engine.device.library)
    if (isObject(engine.sbatch)) {
      for (const [name, value] of Object.entries(engine.sbatch)) add(`engine.sbatch.${name}`, value)
    }
  }
  if (isObject(rollout)) {
    const { rewards, environment, source } = rollout
    for (const [i, reward] of (Array.isArray(rewards) ? rewards : []).entries()) {
      if (isObject(reward)) add(`rollout.rewards[${i}].module`, reward.module)
    }
    if (isObject(environment)) add("rollout.environment.module", environment.module)
    if (isObject(source)) add("rollout.source.sync", source.sync)
  }
  return found
}

/** Asks about a stranger's program; answers whether it may run. */
export type Approve = (question: string) => Promise<boolean>

/**
 * A run folder may be a stranger's: what names a program in its config is run only when approved.
 *
 * @throws InputError naming the keys, when it is not
 */
export async function checkPrograms(
  path: string,
  config: unknown,
  approve: Approve | undefined,
): Promise<void> {
  const programs = programKeys(config)
  if (programs.length === 0) return
  const list = programs.map(({ key, value }) => `${key}: ${JSON.stringify(value)}`).join(", ")
  const question = `${path} names programs that would run with your rights: ${list}. Run them?`
  if (approve !== undefined && (await approve(question))) return
  throw new InputError(
    `${path}: names programs that would run with your rights: ${list}; look at them, then give --allow-code to dftune train, or write a config of your own in place of ${basename(path)}`,
  )
}

/** Reads a record's JSON; undefined where the file is none. */
export function readRecord(path: string): { readonly config: Json } | undefined {
  if (basename(path) !== "config.json") return undefined
  const value = jsonOfFile(path) // what is none is read again as a config, which says what is wrong
  return isRunRecord(value) ? value : undefined
}
