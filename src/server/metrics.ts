import type { RunSummary } from "../run/run-index.ts"
import type { Lanes } from "./lanes.ts"
import type { NamedRun } from "./run-folders.ts"

const STEP_NUMBERS = ["loss", "nll", "mean_p", "grad_norm", "learning_rate", "tokens"] as const

interface Measured {
  readonly runs: readonly { readonly run: NamedRun; readonly summary: RunSummary }[]
  readonly lanes: Pick<Lanes, "computing" | "waiting">
  /** Streams of events that are open. */
  readonly streams: number
}

/** Requests and each run's last step in Prometheus's text format. */
export function metrics({ runs, lanes, streams }: Measured): string {
  const label = ({ name }: NamedRun) =>
    `run="${name.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`
  const gauge = (name: string, lines: readonly string[]) => [`# TYPE ${name} gauge`, ...lines]
  const told = runs.filter(({ summary }) => summary.step)
  const single = (name: string, value: number) => gauge(name, [`${name} ${value}`])
  return [
    ...single("dftune_requests_computing", lanes.computing),
    ...single("dftune_requests_waiting", lanes.waiting),
    ...single("dftune_event_streams", streams),
    ...gauge(
      "dftune_run_step",
      told.map(({ run, summary }) => `dftune_run_step{${label(run)}} ${summary.step!.step}`),
    ),
    ...STEP_NUMBERS.flatMap((key) =>
      gauge(
        `dftune_run_${key}`,
        told.map(
          ({ run, summary }) => `dftune_run_${key}{${label(run)}} ${summary.step![key] ?? "NaN"}`,
        ),
      ),
    ),
    "",
  ].join("\n")
}
