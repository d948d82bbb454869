import { LANES } from "../models/block/cached.ts"
import type { CachedDecoder } from "../models/decoding/cached-decoder.ts"
import type { KvCache } from "../models/decoding/kv-cache.ts"
import { type Prefilled, prefilledPrompts } from "./prefilled-prompts.ts"
import type { Sample, SampleOptions, SampleRequest } from "./sample-source.ts"
import { accepted, begunSequence, type Sequence, type SequenceReader, stepped } from "./sequence.ts"

/** One call of a source: its requests, and what has been made of them. */
export interface Job {
  /** Finished, and not yet taken by whoever asked. */
  readonly samples: Sample[]
  /** Nothing more comes. */
  readonly done: boolean
  /** Why nothing more comes, where it is a failure. */
  readonly error?: unknown
}

/** A sequence that has given its lane to another job, with its keys and values. */
interface Parked {
  readonly sequence: Sequence
  /** One lane. */
  readonly cache: KvCache
}

interface RunningJob extends Job {
  done: boolean
  error?: unknown
  readonly options: SampleOptions
  readonly prompts: AsyncGenerator<Prefilled>
  /** A prompt of which samples have yet to begin; null: there is none left. */
  prompt: Prefilled | null | undefined
  readonly parked: Parked[]
  /** Sequences that hold a lane. */
  lanes: number
  /** Samples that have not begun. */
  waiting: number
  left: boolean
}

/** A sequence in a lane. */
interface Lane {
  readonly job: RunningJob
  readonly sequence: Sequence
}

/**
 * Sequences of any number of jobs, decoded together: up to LANES at once. Jobs join and leave
 * between steps. A free lane goes to the job that holds the fewest; a job that holds none gets one
 * of the job that holds the most, whose sequence waits and goes on from where it was. A lane's
 * numbers do not depend on what is computed beside it, so neither does a sample.
 */
export class DecodingBatch {
  readonly #decoder: CachedDecoder
  readonly #reader: SequenceReader
  #jobs: RunningJob[] = []
  #cache: KvCache | undefined
  #active: (Lane | undefined)[] = []

  constructor(decoder: CachedDecoder, reader: SequenceReader) {
    this.#decoder = decoder
    this.#reader = reader
  }

  get busy(): boolean {
    return this.#jobs.length > 0
  }

  /** Sequences that hold a lane. */
  get computing(): number {
    return this.#active.filter((lane) => lane !== undefined).length
  }

  join(requests: readonly SampleRequest[], options: SampleOptions): Job {
    const samples: Sample[] = []
    const { signal, keepGoing = false } = options
    const job: RunningJob = {
      ...{ samples, options, parked: [], prompt: undefined },
      ...{ lanes: 0, done: false, left: false },
      waiting: requests.reduce((sum, { n }) => sum + n, 0),
      prompts: prefilledPrompts(this.#decoder, this.#reader, requests, {
        signal,
        unanswerable: keepGoing ? samples : undefined,
      }),
    }
    if (job.waiting === 0) job.done = true
    else this.#jobs.push(job)
    return job
  }

  /** Whoever asked is gone: its lanes are free from the next step on. */
  leave(job: Job): void {
    ;(job as RunningJob).left = true
  }

  /** Fills lanes, then one token of each. A job that fails does not touch the others. */
  async step(): Promise<void> {
    await this.#clear()
    try {
      await this.#fill()
      if (this.computing > 0) {
        await this.#decode()
        await this.#giveUpLanes()
      }
    } catch (error) {
      for (const job of this.#jobs) fail(job, error) // what the device refuses, all of them lack
    }
    await this.#clear()
  }

  /** Jobs that have ended, were left or aborted give up what they hold. */
  async #clear(): Promise<void> {
    for (const job of this.#jobs) {
      const { signal } = job.options
      if (!job.done && signal?.aborted) fail(job, signal.reason)
      const finished = job.prompt === null && job.lanes === 0 && job.parked.length === 0
      if (finished) job.done = true
      if (!job.done && !job.left) continue
      job.done = true
      this.#active = this.#active.map((lane) => (lane?.job === job ? undefined : lane))
      for (const { cache } of job.parked.splice(0)) cache.dispose()
      await job.prompts.return(undefined)
    }
    this.#jobs = this.#jobs.filter(({ done }) => !done)
    if (this.#jobs.length === 0) this.dispose()
  }

  async #fill(): Promise<void> {
    for (;;) {
      const job = await this.#next()
      if (!job) return
      const lane = await this.#freeLane(job)
      if (lane === undefined) return
      const parked = job.parked.shift()
      if (parked) {
        const { sequence, cache } = parked
        await this.#put(lane, { job, sequence }, { cache, lane: 0, tokens: heldTokens(sequence) })
        cache.dispose()
      } else await this.#begin(job, lane)
    }
  }

  /**
   * Who gets the next lane: of the jobs with a sequence to compute, the one with the fewest lanes.
   */
  async #next(): Promise<RunningJob | undefined> {
    for (;;) {
      const wanting = this.#jobs.filter((job) => !job.done && !job.left && wants(job))
      if (wanting.length === 0) return undefined
      const job = wanting.reduce((least, job) => (job.lanes < least.lanes ? job : least))
      if (this.computing >= LANES && !this.#donor(job)) return undefined
      if (job.parked.length > 0 || job.prompt) return job
      try {
        const { done, value } = await job.prompts.next()
        job.prompt = done ? null : value
      } catch (error) {
        fail(job, error)
      }
    }
  }

  /** A sequence of a new sample, whose first token its prompt has told already. */
  async #begin(job: RunningJob, lane: number): Promise<void> {
    const prompt = job.prompt!
    const { request, ids, cache, cacheLane } = prompt
    const room = this.#decoder.room(ids.length)
    const { tokenizer } = this.#reader
    const sequence = begunSequence(prompt, prompt.begun++, { tokenizer, room })
    job.waiting--
    if (!this.#accept({ job, sequence }, prompt.first)) {
      await this.#put(lane, { job, sequence }, { cache, lane: cacheLane, tokens: ids.length })
    }
    if (prompt.begun === request.n) job.prompt = job.waiting === 0 ? null : undefined
  }

  async #put(
    lane: number,
    taken: Lane,
    { cache, ...from }: { cache: KvCache; lane: number; tokens: number },
  ): Promise<void> {
    await this.#cache!.copyFrom(cache, lane, from)
    this.#active[lane] = taken
    taken.job.lanes++
  }

  /** A lane without a sequence: one that is there, one more, or that of the job with the most. */
  async #freeLane(job: RunningJob): Promise<number | undefined> {
    const free = this.#active.indexOf(undefined)
    if (free >= 0) return free
    const wanted = this.#jobs.reduce((sum, { waiting, parked }) => sum + waiting + parked.length, 0)
    const lanes = this.#decoder.lanesFor(this.computing + Math.max(1, wanted))
    if (lanes > this.#active.length) return this.#widen(lanes)
    return this.#park(job)
  }

  async #widen(lanes: number): Promise<number> {
    const had = this.#active.length
    const wider = await this.#decoder.newCache(lanes, this.#cache?.places ?? 1)
    for (const [lane, held] of this.#active.entries()) {
      if (!held) continue
      const from = { lane, tokens: heldTokens(held.sequence) }
      await wider.copyFrom(this.#cache!, lane, from)
    }
    this.#cache?.dispose()
    this.#cache = wider
    this.#active = [...this.#active, ...new Array<undefined>(lanes - had).fill(undefined)]
    return had
  }

  /** The job that can give a lane to one that has none, and still has one itself. */
  #donor(job: RunningJob): RunningJob | undefined {
    if (job.lanes > 0) return undefined
    const most = this.#jobs.reduce((most, job) => (job.lanes > most.lanes ? job : most))
    return most.lanes > 1 ? most : undefined
  }

  async #park(job: RunningJob): Promise<number | undefined> {
    const donor = this.#donor(job)
    if (!donor) return undefined
    const lane = this.#active.findLastIndex((held) => held?.job === donor)
    const { sequence } = this.#active[lane]!
    const tokens = heldTokens(sequence)
    const cache = await this.#decoder.newCache(1, tokens)
    await cache.copyFrom(this.#cache!, 0, { lane, tokens })
    donor.parked.push({ sequence, cache })
    donor.lanes--
    this.#active[lane] = undefined
    return lane
  }

  async #decode(): Promise<void> {
    const lanes = [...this.#active]
    const sequences = lanes.map((lane) => lane?.sequence)
    const distributions = await stepped(this.#decoder, this.#cache!, sequences)
    for (const [i, lane] of lanes.entries()) {
      if (!lane || lane.job.done || lane.job.left) continue
      if (!this.#accept(lane, distributions[i]!)) continue
      this.#active[i] = undefined
      lane.job.lanes--
    }
  }

  /** Whether a sequence has ended with its next token, or with its job. */
  #accept({ job, sequence }: Lane, next: Parameters<typeof accepted>[1]): boolean {
    try {
      const { onToken } = job.options
      const sample = accepted(sequence, next, this.#reader.stopTokenIds, onToken)
      if (sample) job.samples.push(sample)
      return sample !== undefined
    } catch (error) {
      fail(job, error)
      return true
    }
  }

  /** With nobody waiting, lanes whose sequences have ended would be computed for nothing. */
  async #giveUpLanes(): Promise<void> {
    const active = this.#active
    const busy = [...active.keys()].filter((lane) => active[lane])
    if (busy.length === 0 || this.#jobs.some((job) => !job.done && wants(job))) return
    const lanes = this.#decoder.lanesFor(busy.length)
    if (lanes >= active.length) return
    const idle = [...active.keys()].filter((lane) => !active[lane])
    const kept = [...busy, ...idle.slice(0, lanes - busy.length)].sort((a, b) => a - b)
    await this.#cache!.keepLanes(kept)
    this.#active = kept.map((lane) => active[lane])
  }

  dispose(): void {
    this.#cache?.dispose()
    this.#cache = undefined
    this.#active = []
  }
}

/** Tokens of a sequence whose keys are in a cache: all but the one drawn last. */
const heldTokens = ({ start, tokenIds }: Sequence) => start + tokenIds.length - 1

const wants = ({ prompt, parked }: RunningJob) => parked.length > 0 || prompt !== null

function fail(job: RunningJob, error: unknown): void {
  if (job.done) return
  job.error = error
  job.done = true
}
