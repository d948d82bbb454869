import { differingSettings, flatten } from "../../../src/report/differing-settings.ts"
import type { RunSettings } from "../../../src/server/one-run-routes.ts"
import { Scroll } from "../parts/scroll.tsx"

type ToldSettings = Pick<RunSettings, "config" | "versions">

/** All that a run was told, and what it ran with. */
export function AllSettings({ config, versions }: ToldSettings) {
  const rows = [...flatten(config), ...flatten(versions, "versions")]
  return (
    <Scroll label="Table of all settings">
      <table class="settings all">
        <tbody>
          {rows.map(([key, value]) => (
            <tr key={key}>
              <th scope="row">{key}</th>
              <td class="mono">{value}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  )
}

/** Settings in which runs differ, a column a run. */
export function Differences({
  names,
  settings,
}: {
  readonly names: readonly string[]
  readonly settings: readonly ToldSettings[]
}) {
  const differing = differingSettings(settings)
  if (differing.length === 0) return <p>Their settings are the same.</p>
  return (
    <Scroll label="Table of the settings that differ">
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
    </Scroll>
  )
}
