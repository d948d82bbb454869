import type { RunEvent } from "../../../src/run/events.ts"
import { number } from "../parts/words.ts"
import type { ShownRun } from "./shown-run.ts"

type Told = Extract<
  RunEvent,
  { type: "run.start" | "eval" | "checkpoint" | "warning" | "rollout" | "run.end" }
>

function wordsOf(event: Told): string {
  if (event.type === "run.start") {
    const { engine, device, resumed_from, steps, objective, parameters } = event
    const how = resumed_from ? `goes on from ${resumed_from}` : "begins"
    return `${how}: ${objective}, ${steps} steps, ${parameters.trained} of ${parameters.total} parameters trained, engine ${engine} on ${device}`
  }
  if (event.type === "eval") {
    const { name, nll, mean_p, score, n } = event
    const said = [
      ...(score === undefined
        ? []
        : [`score ${number(score)}${n === undefined ? "" : ` of ${n}`}`]),
      ...(nll === undefined ? [] : [`NLL ${number(nll, 4)}`]),
      ...(mean_p === undefined ? [] : [`mean p ${number(mean_p)}`]),
    ]
    return `${name}: ${said.join(", ")}`
  }
  if (event.type === "checkpoint") return `checkpoint ${event.path}`
  if (event.type === "warning") return `${event.message} ${event.hint}`
  if (event.type === "rollout") {
    return `rollout ${event.rollout}: ${event.sequences} samples, reward ${number(event.reward)}, ${number(event.truncated)} cut`
  }
  return `ended: ${event.reason}${event.message ? `. ${event.message}` : ""}`
}

/** Everything but the steps, the newest first. */
export function RunLog({ run }: { readonly run: ShownRun }) {
  const { starts, evals, warnings, checkpoints, rollouts, ends } = run.details
  const all: Told[] = [...starts, ...evals, ...warnings, ...checkpoints, ...rollouts, ...ends]
  const shown = all.sort((a, b) => Date.parse(b.time) - Date.parse(a.time)).slice(0, 500)
  return (
    <section aria-label="Log">
      <table class="log">
        <thead>
          <tr>
            <th scope="col">Time</th>
            <th scope="col">Step</th>
            <th scope="col">What</th>
            <th scope="col">Told</th>
          </tr>
        </thead>
        <tbody>
          {shown.map((event, i) => (
            <tr key={`${event.time} ${i}`} class={event.type === "warning" ? "warning" : ""}>
              <td>
                <time dateTime={event.time} title={new Date(event.time).toLocaleString()}>
                  {new Date(event.time).toLocaleTimeString()}
                </time>
              </td>
              <td class="number">{event.step}</td>
              <td>{event.type === "warning" ? event.code : event.type}</td>
              <td>{wordsOf(event)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {all.length > shown.length && (
        <p class="note">
          The last {shown.length} of {all.length}.
        </p>
      )}
    </section>
  )
}

/** Each kind of warning once, with how often it came; `many` names the run. */
export function Warnings({
  run,
  many = false,
  badLines = [],
  open = false,
}: {
  readonly run: ShownRun
  readonly many?: boolean
  readonly badLines?: readonly number[]
  /** Whether what to do is shown at once. */
  readonly open?: boolean
}) {
  const kinds = new Map<string, { count: number; last: ShownRun["details"]["warnings"][number] }>()
  for (const warning of run.details.warnings) {
    kinds.set(warning.code, { count: (kinds.get(warning.code)?.count ?? 0) + 1, last: warning })
  }
  if (kinds.size + badLines.length === 0) return null
  const name = many ? `${run.name}: ` : ""
  return (
    <section class="warnings" aria-label={many ? `Warnings of ${run.name}` : "Warnings"}>
      {[...kinds.values()].map(({ count, last }) => (
        <details key={last.code} open={open}>
          <summary>
            {name}
            <b>{last.code}</b> {last.message}{" "}
            {count > 1 ? `(${count} times, last at step ${last.step})` : `(step ${last.step})`}
          </summary>
          <p class="note">{last.hint}</p>
        </details>
      ))}
      {badLines.length > 0 && (
        <p>
          {name}events.jsonl has {badLines.length} unreadable lines, the first is line {badLines[0]}
        </p>
      )}
    </section>
  )
}
