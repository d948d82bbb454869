import { useEffect, useState } from "preact/hooks"
import type { RunSettings } from "../../../src/server/one-run-routes.ts"
import { AllSettings, Differences } from "../run-view/settings-table.tsx"
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

export function Settings({ name }: { readonly name: string }) {
  const { runs } = useStore()
  const [other, setOther] = useState("")
  const names = other === "" ? [name] : [name, other]
  const { settings, problem } = useSettings(names)
  const there = settings.filter((one) => one !== undefined)
  if (problem) return <p class="problem">{problem}</p>
  if (there.length < names.length) return <p class="note">Reading …</p>
  const [own] = there
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
        <AllSettings config={own!.config} versions={own!.versions} />
      )}
    </section>
  )
}
