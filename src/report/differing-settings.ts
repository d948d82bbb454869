/** What runs were told otherwise. Runs in a browser too. */
import { dottedValues, isObject } from "../formats/json.ts"

export interface Setting {
  readonly key: string
  /** One a run, as JSON; undefined where the run has no such key. */
  readonly values: readonly (string | undefined)[]
}

/** Two runs always differ in these, and nothing follows from it. */
const OF_NO_CONSEQUENCE = ["output_dir", "resume"]

/** The settings in which the runs' configs differ, by dotted key. */
export function differingSettings(runs: readonly { readonly config: unknown }[]): Setting[] {
  const flattened = runs.map(({ config }) => flatten(config))
  const keys = new Set(flattened.flatMap((settings) => [...settings.keys()]))
  return [...keys]
    .filter((key) => !OF_NO_CONSEQUENCE.includes(key))
    .map((key) => ({ key, values: flattened.map((settings) => settings.get(key)) }))
    .filter(({ values }) => new Set(values).size > 1)
}

/** A config's values as JSON, by dotted key. */
export function flatten(value: unknown, under = ""): Map<string, string> {
  const values = dottedValues(value, under).filter(([, one]) => !isObject(one))
  return new Map(values.map(([key, one]) => [key, JSON.stringify(one)]))
}
