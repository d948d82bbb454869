import { useEffect, useState } from "preact/hooks"
import { post, runPath } from "./api.ts"

export interface RowSet {
  readonly name: string
  readonly rows: number
  readonly files: readonly string[]
}

/** The rows that a run is trained and measured on. */
export function useRowSets(name: string) {
  const [told, setTold] = useState<{ sets: readonly RowSet[]; objective: string }>()
  const [problem, setProblem] = useState("")
  useEffect(() => {
    const gone = new AbortController()
    post<{ sets: RowSet[]; objective: string }>(runPath(name, "/row-sets"), {}, gone.signal).then(
      setTold,
      (error: Error) => !gone.signal.aborted && setProblem(error.message),
    )
    return () => gone.abort()
  }, [name])
  return { told, problem }
}

/** Which of them is shown. */
export function RowSetSelect({
  sets,
  value,
  onChange,
}: {
  readonly sets: readonly RowSet[]
  readonly value: string
  readonly onChange: (name: string) => void
}) {
  return (
    <label>
      rows{" "}
      <select value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        {sets.map(({ name }) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
      </select>
    </label>
  )
}
