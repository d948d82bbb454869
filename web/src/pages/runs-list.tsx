import { useState } from "preact/hooks"
import { plural } from "../../../src/plural.ts"
import type { DescribedRun } from "../../../src/server/described-run.ts"
import { Sparkline } from "../parts/sparkline.tsx"
import { ago, measureName, number, shortName, stateOf } from "../parts/words.ts"
import { post, runPath } from "./api.ts"
import { linkTo } from "./routes.ts"
import { store, useStore } from "./store.ts"
import { TagEditor } from "./tag-editor.tsx"

type Key = "name" | "state" | "nll" | "objective" | "model" | "data" | "best" | "updated"

const COLUMNS: readonly (readonly [key: Key, label: string])[] = [
  ["name", "Run"],
  ["state", "State"],
  ["nll", "NLL"],
  ["objective", "Objective"],
  ["model", "Model"],
  ["data", "Data"],
  ["best", "Best evaluation"],
  ["updated", "Last told"],
]

const VALUE: { readonly [K in Key]: (run: DescribedRun) => string | number } = {
  name: ({ name }) => name,
  state: stateOf,
  nll: ({ nll }) => nll.at(-1) ?? Infinity,
  objective: ({ objective }) => objective ?? "",
  model: ({ model }) => model ?? "",
  data: ({ data }) => data.join(" "),
  best: ({ best_eval }) => best_eval?.value ?? -Infinity,
  updated: ({ updated }) => -Date.parse(updated),
}

const ORDER = new Intl.Collator(undefined, { numeric: true })

function sorted(runs: readonly DescribedRun[], key: Key, down: boolean): DescribedRun[] {
  const value = VALUE[key]
  const compare = (a: DescribedRun, b: DescribedRun) => {
    const [x, y] = [value(a), value(b)]
    return typeof x === "number" ? x - Number(y) || 0 : ORDER.compare(x, String(y))
  }
  return [...runs].sort((a, b) => (down ? compare(b, a) : compare(a, b)))
}

/** Every word is somewhere in what the row shows. */
function matches(run: DescribedRun, filter: string): boolean {
  const { name, objective, model, data, tags, engine } = run
  const all = [name, stateOf(run), objective, model, ...data, ...tags, engine]
  const text = all.join(" ").toLowerCase()
  return filter
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word))
}

export function RunsList() {
  const { runs, readOnly } = useStore()
  const [filter, setFilter] = useState("")
  const [archived, setArchived] = useState(false)
  const [[key, down], setOrder] = useState<[Key, boolean]>(["updated", false])
  const [problem, setProblem] = useState("")
  const [ticked, setTicked] = useState<readonly string[]>([])
  const there = [...runs.values()].filter((run) => archived || !run.archived)
  const shown = sorted(
    there.filter((run) => matches(run, filter)),
    key,
    down,
  )
  const mark = async (
    run: DescribedRun,
    marks: Partial<Pick<DescribedRun, "tags" | "archived">>,
  ) => {
    const { tags, archived } = { ...run, ...marks }
    try {
      await post(runPath(run.name, "/marks"), { tags, archived })
      store.runs.set(run.name, { ...run, tags, archived })
      store.changed()
    } catch (error) {
      setProblem((error as Error).message)
    }
  }
  return (
    <>
      <div class="row head">
        <h1>Runs</h1>
        <input
          type="search"
          aria-label="Filter runs"
          placeholder="Filter by name, state, model, data, tag"
          value={filter}
          onInput={(event) => setFilter(event.currentTarget.value)}
        />
        <label class="row">
          <input
            type="checkbox"
            checked={archived}
            onChange={(event) => setArchived(event.currentTarget.checked)}
          />
          archived too
        </label>
        {ticked.length > 0 && (
          <a class="button" href={linkTo("compare", ticked.join(","))}>
            Compare {ticked.length} {plural(ticked.length, "run")}
          </a>
        )}
        <span class="note" role="status">
          {shown.length} of {runs.size}
        </span>
      </div>
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      {runs.size === 0 ? (
        <p>
          No run is in this folder yet. <a href="#/new">Start one here</a>, or in a terminal:{" "}
          <code>dftune train</code> with an <code>output_dir</code> in it.
        </p>
      ) : (
        <table class="runs">
          <thead>
            <tr>
              {COLUMNS.map(([column, label]) => (
                <th
                  key={column}
                  scope="col"
                  aria-sort={key !== column ? "none" : down ? "descending" : "ascending"}
                >
                  <button
                    type="button"
                    class="plain"
                    onClick={() => setOrder([column, key === column && !down])}
                  >
                    {label}
                    <span aria-hidden="true">{key === column ? (down ? " ▾" : " ▴") : ""}</span>
                  </button>
                </th>
              ))}
              <th scope="col">
                <span class="unseen">Archive</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {shown.length === 0 && (
              <tr>
                <td colSpan={COLUMNS.length + 1}>
                  {there.length === 0
                    ? "Every run is archived."
                    : `No run has ${JSON.stringify(filter)} in what this list shows.`}
                </td>
              </tr>
            )}
            {shown.map((run) => (
              <Row
                key={run.name}
                run={run}
                readOnly={readOnly}
                ticked={ticked.includes(run.name)}
                onTick={(on) =>
                  setTicked((before) =>
                    on ? [...before, run.name] : before.filter((one) => one !== run.name),
                  )
                }
                onMark={(marks) => mark(run, marks)}
              />
            ))}
          </tbody>
        </table>
      )}
    </>
  )
}

function Row({
  run,
  readOnly,
  ticked,
  onTick,
  onMark,
}: {
  readonly run: DescribedRun
  readonly readOnly: boolean
  readonly ticked: boolean
  readonly onTick: (on: boolean) => void
  readonly onMark: (marks: Partial<Pick<DescribedRun, "tags" | "archived">>) => void
}) {
  const { name, step, steps, nll, objective, model, data, best_eval, updated, tags, archived } = run
  const state = stateOf(run)
  return (
    <tr class={archived ? "archived" : ""}>
      <th scope="row" data-label="Run">
        <input
          type="checkbox"
          aria-label={`Compare ${name}`}
          checked={ticked}
          onChange={(event) => onTick(event.currentTarget.checked)}
        />{" "}
        <a href={linkTo("run", name)}>{name}</a>
        <TagEditor
          tags={tags}
          name={name}
          readOnly={readOnly}
          onChange={(tags) => onMark({ tags })}
        />
      </th>
      <td data-label="State">
        <span class={`state ${state}`}>{state}</span>
        <span class="note">
          {" "}
          {step}
          {steps === null ? "" : ` of ${steps}`}
          {run.warnings > 0 && ` · ${run.warnings} ${plural(run.warnings, "warning")}`}
        </span>
      </td>
      <td data-label="NLL" class="spark">
        <Sparkline values={nll} label="NLL" />
        <span class="number">{number(nll.at(-1))}</span>
      </td>
      <td data-label="Objective">{objective ?? "–"}</td>
      <td data-label="Model" title={model ?? undefined}>
        {model ? shortName(model) : "–"}
      </td>
      <td data-label="Data" title={data.join("\n")}>
        {data.map(shortName).join(", ") || "–"}
      </td>
      <td data-label="Best evaluation">
        {best_eval
          ? `${shortName(best_eval.name)}: ${measureName(best_eval.measure)} ${number(best_eval.value)}`
          : "–"}
      </td>
      <td data-label="Last told">
        <time dateTime={updated}>{ago(updated)}</time>
      </td>
      <td>
        {!readOnly && (
          <button type="button" class="plain link" onClick={() => onMark({ archived: !archived })}>
            {archived ? "bring back" : "archive"} <span class="unseen">{name}</span>
          </button>
        )}
      </td>
    </tr>
  )
}
