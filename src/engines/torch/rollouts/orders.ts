/**
 * Orders to a worker whose run samples, and its answers: files, because its rank 0 may be on
 * another node.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { rename } from "node:fs/promises"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { makeFolder } from "../../../formats/atomic.ts"

/** A row as the worker reads it. */
export interface RowOrder {
  readonly token_ids: readonly number[]
  readonly loss_mask: readonly number[]
  readonly token_class: readonly number[]
  readonly source: string
  /** A number a supervised token, or one for all. */
  readonly columns?: Readonly<Record<string, number | readonly number[]>>
}

/** A sample that is asked for; `uniform(seed, token, stream)` draws its tokens. */
export interface SampleOrder {
  /** Index into the order's prompts. */
  readonly prompt: number
  /** Tokens of it. */
  readonly most: number
  readonly temperature: number
  readonly seed: number
  readonly stream: readonly [number, number, number]
}

export interface SampleAnswer {
  readonly token_ids: readonly number[]
  readonly logprobs: readonly (number | null)[]
}

export interface RowAnswer {
  readonly logp: readonly (number | null)[]
  readonly entropy?: readonly (number | null)[]
}

/** What can be asked, and what is answered beside `stopping`. */
interface Kinds {
  sample: {
    order: { prompts: readonly (readonly number[])[]; samples: readonly SampleOrder[] }
    answer: { readonly samples: readonly SampleAnswer[] }
  }
  measure: { order: { rows: readonly RowOrder[] }; answer: { readonly rows: readonly RowAnswer[] } }
  reference: {
    order: { rows: readonly RowOrder[] }
    answer: { readonly rows: readonly RowAnswer[] }
  }
  step: { order: { rows: readonly RowOrder[]; epoch: number }; answer: object }
  /** A checkpoint with the file `state` in it. */
  save: { order: { state: string }; answer: { readonly path: string } }
}

const POLL_MS = 10

/** One order at a time; each is answered before the next. */
export class Orders {
  readonly #folder: string
  #number = 0
  #stopping = false
  #last: Promise<unknown> = Promise.resolve()

  constructor(folder: string) {
    this.#folder = join(folder, "orders")
    makeFolder(this.#folder)
  }

  /** Whether the worker was asked to stop, by a signal to one of its processes or a file. */
  get stopping(): boolean {
    return this.#stopping
  }

  /** @throws the signal's reason when nobody answers any more */
  async ask<Kind extends keyof Kinds>(
    kind: Kind,
    order: Kinds[Kind]["order"],
    gone: AbortSignal,
  ): Promise<Kinds[Kind]["answer"]> {
    const turn = this.#last.then(async () => {
      const number = await this.#write({ do: kind, ...order })
      return this.#answer<Kinds[Kind]["answer"]>(number, gone)
    })
    this.#last = turn.catch(() => {})
    return turn
  }

  /** The last order, which is not answered: the worker's `run.end` is. */
  async end(order: { reason: "done" } | { reason: "interrupted"; message: string }): Promise<void> {
    await this.#last
    await this.#write({ do: "end", ...order })
  }

  async #write(order: object): Promise<string> {
    this.#number += 1
    const name = String(this.#number).padStart(6, "0")
    const path = join(this.#folder, `${name}.json`)
    writeFileSync(`${path}.writing`, JSON.stringify(order))
    await rename(`${path}.writing`, path)
    return name
  }

  async #answer<Answer>(name: string, gone: AbortSignal): Promise<Answer> {
    const path = join(this.#folder, `${name}.answer.json`)
    while (!existsSync(path)) {
      gone.throwIfAborted()
      await sleep(POLL_MS)
    }
    const answer = JSON.parse(readFileSync(path, "utf8")) as Answer & { stopping: boolean }
    rmSync(path)
    this.#stopping ||= answer.stopping
    return answer
  }
}
