/**
 * The columns of a csv file by their header. A name that is there again gets a number, as pandas
 * gives it: the first of them is the column of that name.
 */
export function csvHeader(names: readonly string[]): string[] {
  const taken = new Set(names)
  const seen = new Set<string>()
  return names.map((name) => {
    if (!seen.has(name)) {
      seen.add(name)
      return name
    }
    let n = 1
    while (taken.has(`${name}.${n}`)) n++
    taken.add(`${name}.${n}`)
    return `${name}.${n}`
  })
}
