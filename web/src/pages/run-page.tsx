import { useMemo, useState } from "preact/hooks"
import { precisionText, shortCount } from "../../../src/report/units.ts"
import type { RunStart } from "../../../src/run/events.ts"
import type { DescribedRun } from "../../../src/server/described-run.ts"
import { FactList, type Facts } from "../parts/facts.tsx"
import { bytesText, duration, measureName, number, shortName, stateOf } from "../parts/words.ts"
import { Curves } from "../run-view/curves.tsx"
import { Figures } from "../run-view/figures.tsx"
import { HistogramOverSteps } from "../run-view/histograms.tsx"
import { RunLog, Warnings } from "../run-view/run-log.tsx"
import { post, runPath } from "./api.ts"
import { Data } from "./data.tsx"
import { Export } from "./export.tsx"
import { Microscope } from "./microscope.tsx"
import { linkTo } from "./routes.ts"
import { type RunState, toldFigures, useRun } from "./run-state.ts"
import { Samples, useSamples } from "./samples.tsx"
import { Settings, useSettings } from "./settings.tsx"
import { useStore } from "./store.ts"

/** The parts of a run's page, by the last part of its address. */
const PARTS = [
  ["", "Curves"],
  ["tokens", "Tokens"],
  ["data", "Data"],
  ["samples", "Samples"],
  ["settings", "Settings"],
  ["log", "Log"],
  ["export", "Export"],
] as const

export function RunPage({ name, part = "" }: { readonly name: string; readonly part?: string }) {
  const { runs } = useStore()
  const described = runs.get(name)
  const { run, problem } = useRun(described ? name : undefined) // a new run tells nothing at first
  if (!described) {
    return (
      <p>
        There is no run "{name}" in this folder; one that was just started shows here as soon as it
        has begun. <a href={linkTo()}>All runs</a>
      </p>
    )
  }
  return (
    <>
      <Head described={described} run={run} />
      <nav class="parts" aria-label={`Parts of ${name}`}>
        {PARTS.map(([path, label]) => (
          <a
            key={path}
            href={path === "" ? linkTo("run", name) : linkTo("run", name, path)}
            aria-current={part === path ? "page" : undefined}
          >
            {label}
          </a>
        ))}
      </nav>
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      {!run && !problem && <p class="note">Reading the run's events …</p>}
      {run && <Part part={part} run={run} />}
    </>
  )
}

function Part({ part, run }: { readonly part: string; readonly run: RunState }) {
  if (part === "tokens") return <Tokens name={run.name} />
  if (part === "data") return <Data name={run.name} />
  if (part === "samples") return <Samples name={run.name} version={run.details.evals.length} />
  if (part === "settings") return <Settings name={run.name} />
  if (part === "log") return <RunLog run={run} />
  if (part === "export") return <Export name={run.name} />
  return (
    <>
      <Warnings run={run} />
      <Curves runs={[run]} />
      <HistogramOverSteps run={run} />
      <RunFigures run={run} />
    </>
  )
}

/** Its config says which steps were clipped. */
function RunFigures({ run }: { readonly run: RunState }) {
  const { settings } = useSettings([run.name])
  const config = settings[0]?.config
  const figures = useMemo(() => config && toldFigures(run, config), [run.version, config])
  return figures ? <Figures figures={[figures]} /> : null
}

function Tokens({ name }: { readonly name: string }) {
  const { read, problem } = useSamples([name], 0)
  if (!read && !problem) return <p class="note">Reading …</p>
  return <Microscope name={name} samples={read?.[0]?.lines ?? 0} />
}

/** Steps over which the time of one is measured. */
const RECENT_STEPS = 20

/** Seconds until the last step, by the pace of the last ones; undefined where nothing says it. */
export function secondsLeft(run: RunState | undefined, steps: number | null): number | undefined {
  const times = run?.details.columns.get("time") ?? []
  const done = run?.details.columns.get("step") ?? []
  const first = Math.max(0, times.length - 1 - RECENT_STEPS)
  const count = (done.at(-1) ?? 0) - (done[first] ?? 0)
  if (steps === null || count < 1) return undefined
  const pace = (times.at(-1)! - times[first]!) / 1000 / count
  return pace * Math.max(0, steps - done.at(-1)!)
}

function Head({
  described,
  run,
}: {
  readonly described: DescribedRun
  readonly run: RunState | undefined
}) {
  const { name, step, steps, objective, model, engine, last_step, best_eval } = described
  const state = stateOf(described)
  const start = run?.details.starts.at(-1)
  const left = state === "training" ? secondsLeft(run, steps) : undefined
  const facts: Facts = [
    ["objective", objective ?? "–"],
    ["model", model ? shortName(model) : "–"],
    ["engine", start ? engineText(start) : (engine ?? "–")],
    ...(start ? [["trained", parametersText(start.parameters)] as const] : []),
    ["NLL", number(last_step?.nll)],
    ["mean p", number(last_step?.mean_p)],
    ...(best_eval
      ? [
          [
            `best ${measureName(best_eval.measure)} of ${best_eval.name}`,
            `${number(best_eval.value)}, step ${best_eval.step}`,
          ] as const,
        ]
      : []),
    ["tokens/s", number(last_step?.tokens_per_second)],
    ["memory", last_step ? bytesText(last_step.memory_bytes) : "–"],
    ...(left === undefined ? [] : [["time left", `about ${duration(left)}`] as const]),
  ]
  return (
    <header class="run">
      <div class="row">
        <h1>{name}</h1>
        <span class={`state ${state}`} role="status">
          {state}
        </span>
        <span class="number">
          step {step}
          {steps === null ? "" : ` of ${steps}`}
        </span>
        {steps !== null && (
          <progress aria-label="Steps done" value={step} max={Math.max(1, steps)} />
        )}
        <Controls described={described} />
        <a class="button" href={linkTo("chat", name)}>
          Talk to it
        </a>
        <a class="button" href={runPath(name, "/report")} download={`${name}-report.html`}>
          Report as a file
        </a>
      </div>
      <FactList facts={facts} />
    </header>
  )
}

const engineText = ({ engine, device, dtype }: RunStart) =>
  `${engine}${precisionText(dtype)}, ${device}`

const parametersText = ({ trained, total }: RunStart["parameters"]) =>
  `${trained === total ? "" : `${shortCount(trained)} of `}${shortCount(total)} parameters`

/** Ends a run with a checkpoint, or goes on from the newest one. */
function Controls({ described }: { readonly described: DescribedRun }) {
  const { readOnly } = useStore()
  const [said, setSaid] = useState("")
  const [problem, setProblem] = useState("")
  const { name, running, state } = described
  if (readOnly) return null
  const ask = async (what: "stop" | "resume", words: string) => {
    setProblem("")
    try {
      await post(runPath(name, `/${what}`), {})
      setSaid(words)
    } catch (error) {
      setProblem((error as Error).message)
    }
  }
  return (
    <>
      {running ? (
        <button type="button" onClick={() => ask("stop", "It stops after a checkpoint.")}>
          Stop with a checkpoint
        </button>
      ) : (
        state !== "done" && (
          <button type="button" onClick={() => ask("resume", "It goes on when its turn comes.")}>
            Resume
          </button>
        )
      )}
      <span class="note" role="status">
        {said}
      </span>
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
    </>
  )
}
