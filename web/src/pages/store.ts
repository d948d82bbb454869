/** The runs of the folder as every page of this tab sees them. */
import { useEffect, useState } from "preact/hooks"
import type { DescribedRun } from "../../../src/server/described-run.ts"
import { json, Refused } from "./api.ts"
import { Live } from "./live.ts"

/** After which the page says that nobody answers. */
const AWAY_MS = 2000

class Store {
  runs = new Map<string, DescribedRun>()
  readOnly = false
  state: "loading" | "ready" | "no-token" | "lost" = "loading"
  problem = ""
  /** Whether the server has not answered for a while. */
  isAway = false
  #away: ReturnType<typeof setTimeout> | undefined
  readonly #listeners = new Set<() => void>()
  #live: Live | undefined

  get live(): Live {
    this.#live ??= new Live({
      lost: async () => {
        await this.load()
        return this.state !== "no-token"
      },
      away: (away) => this.#toldAway(away),
    })
    return this.#live
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  changed(): void {
    for (const listener of this.#listeners) listener()
  }

  /** A stream that is only opened anew is away for a moment. */
  #toldAway(away: boolean): void {
    if (away && (this.#away !== undefined || this.isAway)) return
    clearTimeout(this.#away)
    this.#away = undefined
    const tell = () => {
      this.#away = undefined
      if (this.isAway === away) return
      this.isAway = away
      this.changed()
    }
    if (away) this.#away = setTimeout(tell, AWAY_MS)
    else tell()
  }

  async load(): Promise<void> {
    const before = this.state
    try {
      const { runs, read_only } = await json<{ runs: DescribedRun[]; read_only: boolean }>(
        "/api/runs",
      )
      this.runs = new Map(runs.map((run) => [run.name, run]))
      this.readOnly = read_only
      this.state = "ready"
    } catch (error) {
      this.state = error instanceof Refused && error.status === 401 ? "no-token" : "lost"
      this.problem = (error as Error).message
    }
    this.changed()
    if (this.state !== "ready") return
    this.#listen()
    if (before === "no-token") this.live.resume()
  }

  #listen(): void {
    if (this.#live) return
    this.live.listen((told) => {
      if (!("runs" in told)) return
      for (const run of told.runs) this.runs.set(run.name, run)
      for (const name of told.gone) this.runs.delete(name)
      this.runs = new Map([...this.runs].sort(([a], [b]) => (a < b ? -1 : 1)))
      this.changed()
    })
  }
}

export const store = new Store()

/** Draws again whenever a run is told of. */
export function useStore(): Store {
  const [, draw] = useState({})
  useEffect(() => store.subscribe(() => draw({})), [])
  return store
}
