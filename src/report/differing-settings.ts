/** What runs were told otherwise. Runs in a browser too. */

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
export function flatten(
  value: unknown,
  key = "",
  into = new Map<string, string>(),
): Map<string, string> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    for (const [name, inner] of Object.entries(value)) {
      flatten(inner, key === "" ? name : `${key}.${name}`, into)
    }
  } else if (key !== "") {
    into.set(key, JSON.stringify(value))
  }
  return into
}
