/** The runs of the folder as every page of this tab sees them. */
import { useEffect, useState } from "preact/hooks"
import type { DescribedRun } from "../../../src/server/described-run.ts"
import { json, Refused } from "./api.ts"
import { Live } from "./live.ts"

class Store {
  runs = new Map<string, DescribedRun>()
  readOnly = false
  state: "loading" | "ready" | "no-token" | "lost" = "loading"
  problem = ""
  readonly #listeners = new Set<() => void>()
  #live: Live | undefined

  get live(): Live {
    this.#live ??= new Live(() => void this.load())
    return this.#live
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  changed(): void {
    for (const listener of this.#listeners) listener()
  }

  async load(): Promise<void> {
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
    if (this.state === "ready") this.#listen()
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
