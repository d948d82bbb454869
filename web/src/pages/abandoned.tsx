import { useState } from "preact/hooks"
import type { AbandonedRow, AbandonedToken } from "../../../src/server/token-routes.ts"
import { number, shortName } from "../parts/words.ts"
import { post, runPath } from "./api.ts"
import { type Moment, momentName } from "./moment.ts"

interface Told {
  readonly rows: readonly AbandonedRow[]
  readonly tokens: readonly AbandonedToken[]
}

const ROWS = 32

/** Which tokens the objective gives next to no weight, by row and by token. */
export function Abandoned({
  name,
  set,
  at,
  objective,
  onRow,
}: {
  readonly name: string
  readonly set: string
  readonly at: Moment
  readonly objective: string
  readonly onRow: (index: number) => void
}) {
  const [told, setTold] = useState<{ of: string; found: Told }>()
  const [state, setState] = useState("")
  const of = `${set} ${at}`
  const look = async () => {
    setState("Asking the model …")
    try {
      const found = await post<Told>(runPath(name, "/abandoned"), { set, at, rows: ROWS })
      setTold({ of, found })
      setState("")
    } catch (error) {
      setState((error as Error).message)
    }
  }
  const shown = told?.of === of ? told.found : undefined
  return (
    <section class="card" aria-label="Abandoned tokens">
      <div class="row head">
        <h2>
          Which tokens does {objective} abandon at{" "}
          {at === "base" || at === "result" ? `the ${at}` : momentName(at)}?
        </h2>
        <button type="button" onClick={look}>
          Look at the first {ROWS} rows
        </button>
        <span class="note" role="status">
          {state}
        </span>
      </div>
      <p class="note">A trained token is abandoned where its weight is below 0.05.</p>
      {shown && (
        <div class="split">
          <table>
            <caption>By row</caption>
            <thead>
              <tr>
                <th scope="col">Row</th>
                <th scope="col">Abandoned</th>
                <th scope="col">Share of its NLL</th>
              </tr>
            </thead>
            <tbody>
              {shown.rows
                .filter(({ abandoned }) => abandoned > 0)
                .map((row) => (
                  <tr key={row.index}>
                    <th scope="row">
                      <button type="button" class="plain link" onClick={() => onRow(row.index)}>
                        {shortName(row.place)}
                      </button>
                    </th>
                    <td class="number">
                      {row.abandoned} of {row.supervised}
                    </td>
                    <td class="number">{Math.round(100 * row.share)} %</td>
                  </tr>
                ))}
            </tbody>
          </table>
          <table>
            <caption>By token</caption>
            <thead>
              <tr>
                <th scope="col">Token</th>
                <th scope="col">Abandoned</th>
                <th scope="col">Mean p</th>
                <th scope="col">Mean weight</th>
              </tr>
            </thead>
            <tbody>
              {shown.tokens
                .filter(({ abandoned }) => abandoned > 0)
                .slice(0, 40)
                .map((token) => (
                  <tr key={token.text}>
                    <th scope="row">
                      <code>{JSON.stringify(token.text)}</code>
                    </th>
                    <td class="number">
                      {token.abandoned} of {token.count}
                    </td>
                    <td class="number">{number(token.mean_p)}</td>
                    <td class="number">{number(token.mean_weight)}</td>
                  </tr>
                ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  )
}
