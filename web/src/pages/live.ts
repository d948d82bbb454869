/**
 * What the server tells, in every tab over one stream: HTTP/1.1 gives an origin six connections, so
 * one tab holds the stream and tells the others. When it closes, the next one takes over.
 */
import type { RunEvent } from "../../../src/run/events.ts"
import { MOST_FOLLOWED } from "../../../src/run/run-files.ts"
import type { DescribedRun } from "../../../src/server/described-run.ts"

export type Told =
  | { readonly runs: readonly DescribedRun[]; readonly gone: readonly string[] }
  | { readonly run: string; readonly id: string; readonly event: RunEvent }
  | { readonly run: string; readonly reset: true }

/** Runs that a tab follows, each with the last event that it has. */
type Wanted = readonly (readonly [run: string, last: string | undefined])[]

type Message =
  | { readonly kind: "told"; readonly told: Told }
  | { readonly kind: "wants"; readonly tab: string; readonly wanted: Wanted }
  | { readonly kind: "who" }
  | { readonly kind: "follows"; readonly runs: readonly string[] }
  | { readonly kind: "lost" }
  /** The server is being asked again, or answers again. */
  | { readonly kind: "away"; readonly away: boolean }
  /** A tab has a session: those that had none have it too. */
  | { readonly kind: "known" }

/** Until a stream that the server ended is asked for again. */
const AGAIN_MS = 2000
/** In which all tabs say what they want of a stream, so that it is opened once for all of them. */
const GATHER_MS = 50

interface LiveEvents {
  /** The server refuses the stream; whether it is to be asked again. */
  readonly lost: () => Promise<boolean>
  /** The server answers no more, or again. */
  readonly away: (away: boolean) => void
}

export class Live {
  readonly #tab = crypto.randomUUID()
  readonly #channel = new BroadcastChannel("dftune-live")
  readonly #listeners = new Set<(told: Told) => void>()
  readonly #events: LiveEvents
  /** The runs of this tab, and how to ask where they have come to. */
  readonly #wanted = new Map<string, () => string | undefined>()
  #leads = false
  readonly #ofTabs = new Map<string, Wanted>()
  #stream: EventSource | undefined
  /** What the open stream follows. */
  #followed = new Map<string, string | undefined>()
  /** The same, as the tab that holds the stream has told it. */
  #told: ReadonlySet<string> = new Set()
  #gathering: ReturnType<typeof setTimeout> | undefined
  /** Nothing is asked until somebody gives the token. */
  #isRefused = false

  constructor(events: LiveEvents) {
    this.#events = events
    this.#channel.onmessage = ({ data }: MessageEvent<Message>) => this.#hear(data)
    this.#say({ kind: "known" })
    addEventListener("pagehide", () => this.#say({ kind: "wants", tab: this.#tab, wanted: [] }))
    // held until this tab is closed
    void navigator.locks.request("dftune-live", () => {
      this.#leads = true
      this.#ofTabs.clear() // what was said to another; some of it long ago
      this.#say({ kind: "who" })
      this.#want()
      this.#gather()
      return new Promise(() => {})
    })
  }

  listen(listener: (told: Told) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Every event of a run after the one that `last` says, until the returned function is called. */
  follow(run: string, last: () => string | undefined): () => void {
    this.#wanted.set(run, last)
    this.#want()
    return () => {
      this.#wanted.delete(run)
      this.#want()
    }
  }

  /** Whether its events come by themselves; what is said of it in the list always does. */
  isFollowed(run: string): boolean {
    return this.#told.has(run)
  }

  #want(): void {
    const wanted = [...this.#wanted].map(([run, last]) => [run, last()] as const)
    this.#say({ kind: "wants", tab: this.#tab, wanted })
    this.#hear({ kind: "wants", tab: this.#tab, wanted })
  }

  #say(message: Message): void {
    this.#channel.postMessage(message)
  }

  #hear(message: Message): void {
    if (message.kind === "told") this.#tell(message.told)
    else if (message.kind === "who") this.#want()
    else if (message.kind === "lost") void this.#lost()
    else if (message.kind === "away") this.#events.away(message.away)
    else if (message.kind === "known") this.#known()
    else if (message.kind === "follows") this.#told = new Set(message.runs)
    else {
      this.#ofTabs.delete(message.tab)
      if (message.wanted.length > 0) this.#ofTabs.set(message.tab, message.wanted)
      if (this.#leads) this.#gather()
    }
  }

  /** The token was given, here or in another tab. */
  resume(): void {
    this.#say({ kind: "known" })
    this.#known()
  }

  #known(): void {
    if (!this.#isRefused) return
    this.#isRefused = false
    void this.#events.lost() // reads anew what there is
    if (this.#leads) this.#gather()
  }

  async #lost(): Promise<void> {
    this.#isRefused = !(await this.#events.lost())
    if (this.#leads && !this.#isRefused) setTimeout(() => this.#open(), AGAIN_MS)
  }

  #away(away: boolean): void {
    this.#say({ kind: "away", away })
    this.#events.away(away)
  }

  #tell(told: Told): void {
    for (const listener of this.#listeners) listener(told)
  }

  #gather(): void {
    this.#gathering ??= setTimeout(() => {
      this.#gathering = undefined
      this.#open()
    }, GATHER_MS)
  }

  /** Opens the stream, anew where somebody wants a run that it does not follow. */
  #open(): void {
    const all = new Map([...new Map([...this.#ofTabs.values()].flat())].slice(-MOST_FOLLOWED))
    const isFollowed = [...all.keys()].every((run) => this.#followed.has(run))
    if (!this.#stream || !isFollowed) this.#follow(all)
    const follows = { kind: "follows", runs: [...this.#followed.keys()] } as const
    this.#say(follows)
    this.#hear(follows)
  }

  #follow(all: ReadonlyMap<string, string | undefined>): void {
    this.#stream?.close()
    this.#followed = new Map([...all].map(([run, last]) => [run, this.#followed.get(run) ?? last]))
    const query = new URLSearchParams()
    for (const run of this.#followed.keys()) query.append("run", run)
    const places = [...this.#followed].filter(([, last]) => last !== undefined)
    query.set("after", btoa(JSON.stringify(places)).replaceAll("+", "-").replaceAll("/", "_"))
    this.#stream = new EventSource(`/api/stream?${query}`)
    this.#stream.onerror = () => {
      // it connects again by itself
      if (this.#stream?.readyState !== EventSource.CLOSED) return this.#away(true)
      this.#stream = undefined
      this.#away(false) // it did answer
      this.#say({ kind: "lost" })
      void this.#lost()
    }
    this.#stream.onopen = () => this.#away(false)
    this.#stream.onmessage = ({ data }: MessageEvent<string>) => {
      const told: Told = JSON.parse(data)
      if ("event" in told) this.#followed.set(told.run, told.id)
      this.#say({ kind: "told", told })
      this.#tell(told)
    }
  }
}
