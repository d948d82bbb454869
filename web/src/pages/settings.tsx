import { useEffect, useState } from "preact/hooks"
import { differingSettings, flatten } from "../../../src/report/differing-settings.ts"
import type { RunSettings } from "../../../src/server/one-run-routes.ts"
import { json, runPath } from "./api.ts"
import { useStore } from "./store.ts"

/** What a run was told; undefined until it is there. */
export function useSettings(names: readonly string[]) {
  const [all, setAll] = useState<ReadonlyMap<string, RunSettings>>(new Map())
  const [problem, setProblem] = useState("")
  const key = names.join("\n")
  useEffect(() => {
    const gone = new AbortController()
    Promise.all(
      names.map(
        async (name) =>
          [name, await json<RunSettings>(runPath(name, "/settings"), gone.signal)] as const,
      ),
    ).then(
      (read) => setAll(new Map(read)),
      (error: Error) => !gone.signal.aborted && setProblem(error.message),
    )
    return () => gone.abort()
  }, [key])
  return { settings: names.map((name) => all.get(name)), problem }
}

/** Settings in which runs differ, a column a run. */
export function Differences({
  names,
  settings,
}: {
  readonly names: readonly string[]
  readonly settings: readonly RunSettings[]
}) {
  const differing = differingSettings(settings)
  if (differing.length === 0) return <p>Their settings are the same.</p>
  return (
    <div class="scroll">
      <table class="settings">
        <thead>
          <tr>
            <th scope="col">Setting</th>
            {names.map((name) => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {differing.map(({ key, values }) => (
            <tr key={key}>
              <th scope="row">{key}</th>
              {values.map((value, i) => (
                <td key={names[i]} class="mono">
                  {value ?? "–"}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

export function Settings({ name }: { readonly name: string }) {
  const { runs } = useStore()
  const [other, setOther] = useState("")
  const names = other === "" ? [name] : [name, other]
  const { settings, problem } = useSettings(names)
  const there = settings.filter((one) => one !== undefined)
  if (problem) return <p class="problem">{problem}</p>
  if (there.length < names.length) return <p class="note">Reading …</p>
  const [own] = there
  const rows = [...flatten(own!.config), ...flatten(own!.versions, "versions")]
  return (
    <section aria-label="Settings">
      <div class="row controls">
        <label>
          what differs from{" "}
          <select value={other} onChange={(event) => setOther(event.currentTarget.value)}>
            <option value="">no other run: all settings</option>
            {[...runs.keys()]
              .filter((one) => one !== name)
              .map((one) => (
                <option key={one}>{one}</option>
              ))}
          </select>
        </label>
      </div>
      {other !== "" ? (
        <Differences names={names} settings={there} />
      ) : (
        <div class="scroll">
          <table class="settings">
            <tbody>
              {rows.map(([key, value]) => (
                <tr key={key}>
                  <th scope="row">{key}</th>
                  <td class="mono">{value}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  )
}
