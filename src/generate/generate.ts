import type { PromptRow } from "./prompt-rows.ts"
import type { Sample, SampleOptions, SampleRequest, SampleSource } from "./sample-source.ts"

/** Settings of every request of a call. */
export type GenerateSettings = Pick<
  SampleRequest,
  "temperature" | "topK" | "topP" | "minP" | "repetitionPenalty" | "maxNewTokens" | "stop"
>

export interface GenerateOptions extends SampleOptions {
  readonly source: SampleSource
  readonly rows: readonly (Pick<PromptRow, "prompt"> & Partial<Pick<PromptRow, "where">>)[]
  /** Samples of each row. */
  readonly n?: number
  /** Sample i of row r is drawn with seed + r n + i. */
  readonly seed?: number
  readonly settings: GenerateSettings
  /** Seeds of samples that exist already and are left out. */
  readonly done?: ReadonlySet<number>
}

/** A sample with the row it belongs to. */
export interface RowSample extends Sample {
  readonly row: number
}

interface Ask {
  readonly row: number
  readonly first: number
  readonly request: SampleRequest
}

/** Requests for what is missing: stretches of neighbouring samples of a row share their prompt. */
function missing({ rows, n = 1, seed = 0, settings, done }: GenerateOptions): Ask[] {
  return rows.flatMap(({ prompt, where }, row) => {
    const asks: Ask[] = []
    for (let i = 0; i < n; i++) {
      if (done?.has(seed + row * n + i)) continue
      let count = 1
      while (i + count < n && !done?.has(seed + row * n + i + count)) count++
      const place = where === undefined ? {} : { where }
      const request = { ...settings, ...place, prompt, n: count, seed: seed + row * n + i }
      asks.push({ row, first: i, request })
      i += count
    }
    return asks
  })
}

/** Samples `n` completions of every row, yielded as they finish. */
export async function* generate(options: GenerateOptions): AsyncGenerator<RowSample> {
  const { source, signal, onToken, keepGoing } = options
  const asks = missing(options)
  const passed = {
    ...(signal ? { signal } : {}),
    ...(onToken ? { onToken } : {}),
    ...(keepGoing ? { keepGoing } : {}),
  }
  const requests = asks.map(({ request }) => request)
  for await (const sample of source.sample(requests, passed)) {
    const { row, first } = asks[sample.requestIndex]!
    yield { ...sample, row, sampleIndex: first + sample.sampleIndex }
  }
}
