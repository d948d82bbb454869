import { useEffect, useState } from "preact/hooks"
import { Tokens } from "../parts/tokens.tsx"
import { json, runPath } from "./api.ts"

/** A line of samples.jsonl; written by the run, so each field may be missing. */
export interface Sample {
  readonly step?: number
  readonly prompt?: string
  readonly completion?: string
  readonly tokens?: readonly string[]
  readonly probabilities?: readonly number[]
  readonly reward?: number | null
}

export function useSamples(name: string, version: unknown) {
  const [samples, setSamples] = useState<readonly Sample[]>()
  const [problem, setProblem] = useState("")
  useEffect(() => {
    const gone = new AbortController()
    json<{ samples: Sample[] }>(runPath(name, "/samples"), gone.signal).then(
      ({ samples }) => setSamples(samples),
      (error: Error) => !gone.signal.aborted && setProblem(error.message),
    )
    return () => gone.abort()
  }, [name, version])
  return { samples, problem }
}

const isNumbers = (value: unknown): value is readonly number[] => Array.isArray(value)

/** The answer's tokens, coloured by the probability with which they were drawn. */
export function SampleText({ sample }: { readonly sample: Sample }) {
  const { tokens, probabilities, completion } = sample
  if (!Array.isArray(tokens) || !isNumbers(probabilities)) {
    return <div class="tokens">{String(completion ?? "")}</div>
  }
  return (
    <Tokens
      tokens={tokens.map((text, i) => ({
        text: String(text),
        value: probabilities[i] ?? null,
        title: `p = ${probabilities[i]?.toPrecision(3) ?? "–"}`,
      }))}
    />
  )
}

/** What the run wrote on its way, the newest first. */
export function Samples({ name, version }: { readonly name: string; readonly version: unknown }) {
  const { samples, problem } = useSamples(name, version)
  if (problem) return <p class="problem">{problem}</p>
  if (!samples) return <p class="note">Reading …</p>
  if (samples.length === 0) {
    return (
      <p>
        This run has written no samples. <code>generate_samples</code> in its config makes it write
        some.
      </p>
    )
  }
  return (
    <section aria-label="Samples">
      {[...samples]
        .reverse()
        .slice(0, 100)
        .map((sample, i) => (
          <article key={i} class="card sample">
            <p class="note">
              step {sample.step ?? "–"}
              {typeof sample.reward === "number" && `, reward ${sample.reward}`}
            </p>
            <div class="tokens context">{String(sample.prompt ?? "")}</div>
            <SampleText sample={sample} />
          </article>
        ))}
    </section>
  )
}
