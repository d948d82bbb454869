/** The models that may be asked by name, and those of them that are in memory. */
import { statSync } from "node:fs"
import { basename, join, resolve } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { InputError } from "../errors.ts"
import { inspectTokens } from "../evaluate/token-inspection.ts"
import { isObject } from "../formats/json.ts"
import {
  modelFolders,
  type OpenModel,
  type OpenModelOptions,
  openModel,
  SharedSource,
  weightsFolder,
} from "../generate/index.ts"
import { stepOfCheckpoint } from "../run/run-files.ts"
import { RUN_FILES, readRunRecord } from "../run/run-folder.ts"
import { ownCheckpoints } from "../run/run-place.ts"
import { openScoredModel, type ScoredModel, tokenLogprobs } from "../train/scored-model.ts"
import { runFolders } from "./run-folders.ts"

/** Models that stay in memory when nobody asks them. */
const KEPT_MODELS = 2
const CLOSING_POLL_MS = 10

export interface RegisteredModel {
  readonly id: string
  readonly path: string
  /** Seconds since 1970. */
  readonly created: number
}

export interface ServedModelsOptions {
  /** The folder of runs. */
  readonly dir: string
  /** `--model`s: folders, or hub ids that have been downloaded. */
  readonly models: readonly string[]
  readonly open?: Pick<OpenModelOptions, "device" | "dtype" | "threads">
}

/** Of one token of a prompt. */
export interface PromptScore {
  /** ln p at temperature 1. */
  readonly logprob: number
  readonly top?: readonly { readonly tokenId: number; readonly logprob: number }[]
}

/** A model of a request; its sequences are decoded together with those of the others. */
export interface ModelLease {
  readonly open: OpenModel
  readonly source: SharedSource
  /**
   * Of each token after the first: ln p, and the likeliest tokens in its place if some are asked
   * for.
   */
  promptScores(tokenIds: readonly number[], alternatives: number): Promise<PromptScore[]>
  giveBack(): Promise<void>
}

interface Held {
  readonly open: Promise<OpenModel>
  source: SharedSource | undefined
  scored: ScoredModel | undefined
  /** One after the other: the decoder that scores has one set of buffers. */
  scoring: Promise<unknown>
  users: number
}

/**
 * Model names: the runs that have a result, their checkpoints, what they were trained from, and
 * `--model`s.
 */
export class ServedModels {
  readonly #options: ServedModelsOptions
  /** By weights folder and when it was written; the least recently used first. */
  readonly #held = new Map<string, Held>()

  constructor(options: ServedModelsOptions) {
    this.#options = options
  }

  /** Every name once; of two of one name the one that was named at the start. */
  async list(): Promise<RegisteredModel[]> {
    return [...new Set((await this.#names()).values())]
  }

  /** By a registered name alone: what a request says is never a path. */
  async find(name: string): Promise<RegisteredModel | undefined> {
    return (await this.#names()).get(name)
  }

  async lease({ path }: RegisteredModel): Promise<ModelLease> {
    const key = keyOf(path)
    const held = this.#held.get(key) ?? this.#opened(path)
    this.#held.delete(key)
    this.#held.set(key, held)
    held.users++
    try {
      const open = await held.open
      held.source ??= new SharedSource(open)
      return {
        open,
        source: held.source,
        promptScores: (tokenIds, alternatives) => this.#score(held, path, tokenIds, alternatives),
        giveBack: async () => {
          held.users--
          await this.#letGo()
        },
      }
    } catch (error) {
      held.users--
      this.#held.delete(key)
      throw error
    }
  }

  /** Lets go of all models, once the requests that compute have been told to end and have. */
  async close(): Promise<void> {
    const all = [...this.#held.values()]
    while (all.some(({ users }) => users > 0)) await sleep(CLOSING_POLL_MS)
    this.#held.clear()
    for (const held of all) await released(held)
  }

  #opened(path: string): Held {
    const open = openModel(path, this.#options.open)
    open.catch(() => {}) // told to whoever awaits it
    return { open, source: undefined, scored: undefined, scoring: Promise.resolve(), users: 0 }
  }

  #score(
    held: Held,
    path: string,
    tokenIds: readonly number[],
    alternatives: number,
  ): Promise<PromptScore[]> {
    const turn = held.scoring.then(async (): Promise<PromptScore[]> => {
      held.scored ??= await openScoredModel(path)
      if (alternatives === 0) {
        return [...(await tokenLogprobs(held.scored, tokenIds))].map((logprob) => ({ logprob }))
      }
      const found = await inspectTokens(held.scored, tokenIds, alternatives)
      return found.map(({ logp, alternatives: top }) => ({
        logprob: logp,
        top: top.map(({ tokenId, logp: logprob }) => ({ tokenId, logprob })),
      }))
    })
    held.scoring = turn.catch(() => {})
    return turn
  }

  async #letGo(): Promise<void> {
    const idle = [...this.#held].filter(([, { users }]) => users === 0)
    const gone = idle.slice(0, Math.max(0, this.#held.size - KEPT_MODELS))
    for (const [key] of gone) this.#held.delete(key)
    for (const [, held] of gone) await released(held)
  }

  async #names(): Promise<Map<string, RegisteredModel>> {
    const names = new Map<string, RegisteredModel>()
    const add = (path: string, id: string) => {
      if (names.has(id)) return
      names.set(id, { id, path, created: Math.floor(statSync(weightsFolder(path)).mtimeMs / 1000) })
    }
    for (const given of this.#options.models) {
      const { folder } = await modelFolders(given)
      const short = folder === given ? basename(resolve(given)) : given
      const id = names.has(short) ? given : short
      add(folder === given ? given : folder, id)
      names.set(given, names.get(id)!)
    }
    for (const { name, path } of runFolders(this.#options.dir)) {
      if (await isThere(path)) add(path, name)
      for (const checkpoint of ownCheckpoints(path)) {
        const folder = join(path, RUN_FILES.checkpoints, checkpoint)
        const step = stepOfCheckpoint(checkpoint)
        if (await isThere(folder)) add(folder, `${name}@${step}`)
      }
    }
    for (const { path } of runFolders(this.#options.dir)) {
      const base = baseOf(path)
      if (base === undefined || !(await isThere(base))) continue
      const { folder } = await modelFolders(base)
      add(folder, folder === base ? basename(base) : base)
    }
    return names
  }
}

const keyOf = (path: string) => {
  const folder = weightsFolder(path)
  return `${folder} ${statSync(folder).mtimeMs}`
}

async function released(held: Held): Promise<void> {
  await held.source?.release()
  await held.scored?.release()
  await (await held.open).release()
}

/** What a run was trained from, as its config names it. */
function baseOf(run: string): string | undefined {
  try {
    const config = readRunRecord(run)?.config
    return isObject(config) && typeof config.model === "string" ? config.model : undefined
  } catch (error) {
    if (error instanceof InputError) return undefined // a config.json that is no JSON
    throw error
  }
}

/** Whether all parts of a model lie on this machine. */
async function isThere(path: string): Promise<boolean> {
  try {
    await modelFolders(path)
    return true
  } catch (error) {
    if (error instanceof InputError) return false // nothing saved yet, a base that is elsewhere
    throw error
  }
}
