import { useEffect, useState } from "preact/hooks"
import { plural } from "../../../src/plural.ts"
import type { ToldData } from "../../../src/server/data-routes.ts"
import type { ToldRow } from "../../../src/server/run-rows.ts"
import { Scroll } from "../parts/scroll.tsx"
import { visible } from "../parts/tokens.tsx"
import { shortName } from "../parts/words.ts"
import { post, runPath } from "./api.ts"
import { RowSetSelect, useRowSets } from "./row-sets.tsx"

const COUNT = 10

/** What a run is trained and measured on: sources, what is odd, and each row with its mask. */
export function Data({ name }: { readonly name: string }) {
  const { told: sets, problem } = useRowSets(name)
  const [set, setSet] = useState("train")
  const [from, setFrom] = useState(0)
  const [data, setData] = useState<ToldData>()
  const [said, setSaid] = useState("")
  useEffect(() => {
    const gone = new AbortController()
    post<ToldData>(runPath(name, "/data"), { set, from, count: COUNT }, gone.signal).then(
      setData,
      (error: Error) => !gone.signal.aborted && setSaid(error.message),
    )
    return () => gone.abort()
  }, [name, set, from])
  if (problem || said) return <p class="problem">{problem || said}</p>
  if (!sets || !data) return <p class="note">Preparing the rows as training has them …</p>
  const { rows, tokens, supervised_tokens, purpose } = data
  const share = tokens === 0 ? 0 : Math.round((100 * supervised_tokens) / tokens)
  return (
    <section aria-label="Data">
      <div class="row controls">
        <RowSetSelect
          sets={sets.sets}
          value={set}
          onChange={(next) => {
            setSet(next)
            setFrom(0)
          }}
        />
        <span>
          {rows} {purpose === "preference" ? "pairs" : "rows"}, {tokens} tokens, {share} % of them
          trained
        </span>
      </div>
      <div class="split">
        <Sources data={data} />
        <Lengths data={data} />
      </div>
      <Odd data={data} onRow={(row) => setFrom(Math.floor(row / COUNT) * COUNT)} />
      <div class="row controls">
        <button
          type="button"
          disabled={from === 0}
          onClick={() => setFrom(Math.max(0, from - COUNT))}
        >
          Earlier rows
        </button>
        <span class="number" role="status">
          {from + 1} to {Math.min(rows, from + COUNT)} of {rows}
        </span>
        <button type="button" disabled={from + COUNT >= rows} onClick={() => setFrom(from + COUNT)}>
          Later rows
        </button>
        <span class="note">Marked tokens are trained; grey ones are what is read before.</span>
      </div>
      {data.page.map(({ index, place, sides }) => (
        <article key={index} class="card sample">
          <p class="note">
            {index + 1}: {place}
          </p>
          <div class="split">
            {sides.map((side, i) => (
              <div key={i}>
                {sides.length > 1 && <h2>{i === 0 ? "chosen" : "rejected"}</h2>}
                <MaskedTokens row={side} />
              </div>
            ))}
          </div>
        </article>
      ))}
    </section>
  )
}

function MaskedTokens({ row }: { readonly row: ToldRow }) {
  return (
    <div class="tokens masked">
      {row.tokens.map((text, i) => (
        <span key={i} class={row.mask[i] === 1 ? "trained" : "context"}>
          {visible(text)}
        </span>
      ))}
    </div>
  )
}

function Sources({ data }: { readonly data: ToldData }) {
  return (
    <Scroll label="Table of the sources">
      <table>
        <caption>Sources</caption>
        <thead>
          <tr>
            {["File", "Rows", "Weight", "Cut", "Dropped", "Bad"].map((title) => (
              <th key={title} scope="col">
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {data.sources.map(({ path, rows, weight, truncated, dropped, bad }) => (
            <tr key={path}>
              <th scope="row" title={path}>
                {shortName(path)}
              </th>
              {[rows, weight, truncated, dropped, bad].map((value, i) => (
                <td key={i} class="number">
                  {value}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  )
}

function Lengths({ data }: { readonly data: ToldData }) {
  const most = Math.max(1, ...data.lengths.map(({ rows }) => rows))
  const words = data.lengths.map(({ to, rows }) => `up to ${to}: ${rows}`).join(", ")
  const width = 100 / Math.max(1, data.lengths.length)
  return (
    <figure class="chart">
      <figcaption>Tokens a row</figcaption>
      <svg
        viewBox="0 0 100 46"
        preserveAspectRatio="none"
        class="histogram"
        role="img"
        aria-label={`Rows by their tokens. ${words}`}
      >
        {data.lengths.map(({ to, rows }, i) => (
          <rect
            key={to}
            x={i * width + 0.1 * width}
            y={45 - (44 * rows) / most}
            width={0.8 * width}
            height={(44 * rows) / most}
            style={{ fill: "var(--a)" }}
          />
        ))}
      </svg>
      <div class="bins ends" aria-hidden="true">
        <span>1</span>
        <span>{data.lengths.at(-1)?.to}</span>
      </div>
    </figure>
  )
}

/** Lints, overlap with evaluations and benchmarks, and rows that are equal. */
function Odd({ data, onRow }: { readonly data: ToldData; readonly onRow: (row: number) => void }) {
  return (
    <div class="warnings">
      {data.lints.map(({ code, message, hint, examples }) => (
        <details key={`${code} ${message}`}>
          <summary>
            <b>{code}</b> {message}
          </summary>
          <p class="note">{hint}</p>
          <p class="note">{examples.join(", ")}</p>
        </details>
      ))}
      {data.duplicates.length > 0 && (
        <details>
          <summary>
            <b>equal rows</b> {data.duplicates.length} {plural(data.duplicates.length, "group")} of
            rows that are the same, token for token
          </summary>
          <ul>
            {data.duplicates.map(({ rows, indices, places }) => (
              <li key={indices[0]}>
                {rows} times:{" "}
                {indices.map((row, i) => (
                  <>
                    <button type="button" class="plain link" onClick={() => onRow(row)}>
                      {shortName(places[i]!)}
                    </button>{" "}
                  </>
                ))}
              </li>
            ))}
          </ul>
        </details>
      )}
    </div>
  )
}
