import { useEffect, useState } from "preact/hooks"
import type { Job } from "../../../src/server/queue-file.ts"
import { ago, jobClass } from "../parts/words.ts"
import { json, post } from "./api.ts"
import { linkTo } from "./routes.ts"
import { useStore } from "./store.ts"

const LOOK_EVERY_MS = 2000

/** What waits, is trained, and was; it outlives this page and the server. */
export function Queue() {
  const { runs } = useStore()
  const [jobs, setJobs] = useState<readonly Job[]>([])
  const [problem, setProblem] = useState("")
  /** Why the list is not known to be what it was; gone with the next answer. */
  const [lost, setLost] = useState("")
  const look = () =>
    json<{ jobs: Job[] }>("/api/jobs").then(
      ({ jobs }) => {
        setJobs(jobs)
        setLost("")
      },
      (error: Error) => setLost(error.message),
    )
  useEffect(() => {
    void look()
    const timer = setInterval(look, LOOK_EVERY_MS)
    return () => clearInterval(timer)
  }, [])
  const cancel = async (id: string) => {
    setProblem("")
    await post(`/api/jobs/${id}/cancel`, {}).catch((error: Error) => setProblem(error.message))
    await look()
  }
  if (jobs.length === 0) return null
  return (
    <section class="card" aria-label="Queue">
      <h2>Queue</h2>
      {[lost, problem].filter(Boolean).map((said) => (
        <p key={said} class="problem" role="alert">
          {said}
        </p>
      ))}
      <ul class="queue">
        {[...jobs].reverse().map(({ id, run, state, resume, added, message, export: asked }) => (
          <li key={id}>
            {runs.has(run) ? (
              <a href={asked ? linkTo("run", run, "export") : linkTo("run", run)}>{run}</a>
            ) : (
              run
            )}{" "}
            {resume && "goes on"}
            {asked && `as ${asked.to}`} <span class={jobClass(state)}>{state}</span>{" "}
            <span class="note">{ago(added)}</span>{" "}
            {state === "waiting" && (
              <button type="button" onClick={() => cancel(id)}>
                Take out<span class="unseen"> {run}</span>
              </button>
            )}
            {message && <p class="problem pre">{message}</p>}
          </li>
        ))}
      </ul>
    </section>
  )
}
