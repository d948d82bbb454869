/**
 * Names that the documentation speaks of and no engine takes yet: known, so that nobody is told to
 * write another word, and refused with what to do meanwhile. Whoever builds one removes its row.
 */
export const PENDING_OBJECTIVES: Readonly<Record<string, string>> = {}

/** Keys of the config, by their path. */
export const PENDING_KEYS: Readonly<Record<string, string>> = {
  reference:
    "another frozen model as reference is not built yet; objectives with a reference compare with the model as it starts",
}
