import { useEffect, useState } from "preact/hooks"
import { isObject } from "../../../src/formats/json.ts"
import type { Sample } from "../../../src/report/sample-rows.ts"
import { SamplesBeside } from "../run-view/samples-beside.tsx"
import { json, runPath } from "./api.ts"
import { useSettings } from "./settings.tsx"

/** Lines of samples.jsonl as they lie there, and those that are samples. */
interface ReadSamples {
  readonly lines: number
  readonly samples: readonly Sample[]
}

/** The samples of runs, in their order; undefined until all are there. */
export function useSamples(names: readonly string[], version: unknown) {
  const [read, setRead] = useState<readonly ReadSamples[]>()
  const [problem, setProblem] = useState("")
  useEffect(() => {
    const gone = new AbortController()
    const all = names.map(async (name) => {
      const path = runPath(name, "/samples")
      const { samples } = await json<{ samples: unknown[] }>(path, gone.signal)
      return { lines: samples.length, samples: samples.filter(isSample) }
    })
    Promise.all(all).then(
      setRead,
      (error: Error) => !gone.signal.aborted && setProblem(error.message),
    )
    return () => gone.abort()
  }, [names.join("\n"), version])
  return { read: read?.length === names.length ? read : undefined, problem }
}

/** A run writes them, or a stranger did: each field is looked at. */
function isSample(value: unknown): value is Sample {
  if (!isObject(value)) return false
  const { step, prompt, completion, tokens = [], probabilities = [], reference = "" } = value
  return (
    typeof step === "number" &&
    [prompt, completion, reference].every((text) => typeof text === "string") &&
    Array.isArray(tokens) &&
    tokens.every((token) => typeof token === "string") &&
    Array.isArray(probabilities) &&
    probabilities.every((p) => p === null || typeof p === "number")
  )
}

/** What the run wrote on its way. */
export function Samples({ name, version }: { readonly name: string; readonly version: unknown }) {
  const { read, problem } = useSamples([name], version)
  const { settings } = useSettings([name])
  const [own] = read ?? []
  if (problem) return <p class="problem">{problem}</p>
  if (!own || !settings[0]) return <p class="note">Reading …</p>
  if (own.samples.length === 0) {
    return (
      <p>
        This run has written no samples. <code>generate_samples</code> in its config makes it write
        some.
      </p>
    )
  }
  return <SamplesBeside runs={[{ name, samples: own.samples, config: settings[0].config }]} />
}
