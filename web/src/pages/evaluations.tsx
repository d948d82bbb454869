import { useEffect, useState } from "preact/hooks"
import type { ComparedItem, ItemComparison } from "../../../src/evaluate/item-comparison.ts"
import type { ToldEvaluation } from "../../../src/server/evaluation-routes.ts"
import { number } from "../parts/words.ts"
import { json, post } from "./api.ts"

/** Two evaluations of one suite, problem by problem. */
export function Evaluations() {
  const [all, setAll] = useState<readonly ToldEvaluation[]>()
  const [a, setA] = useState("")
  const [b, setB] = useState("")
  const [suite, setSuite] = useState("")
  const [told, setTold] = useState<ItemComparison>()
  const [problem, setProblem] = useState("")
  useEffect(() => {
    json<{ evaluations: ToldEvaluation[] }>("/api/evaluations").then(
      ({ evaluations }) => setAll(evaluations),
      (error: Error) => setProblem(error.message),
    )
  }, [])
  const suitesOf = (name: string) =>
    all?.find((one) => one.name === name)?.suites.map((one) => one.suite) ?? []
  const shared = suitesOf(a).filter((one) => suitesOf(b).includes(one))
  const chosen = shared.includes(suite) ? suite : (shared[0] ?? "")
  useEffect(() => {
    setTold(undefined)
    setProblem("")
    if (a === "" || b === "" || a === b || chosen === "") return
    const gone = new AbortController()
    post<ItemComparison>("/api/evaluations/compare", { a, b, suite: chosen }, gone.signal).then(
      setTold,
      (error: Error) => !gone.signal.aborted && setProblem(error.message),
    )
    return () => gone.abort()
  }, [a, b, chosen])
  if (!all || all.length < 2) {
    return (
      <section class="card" aria-label="Evaluations">
        <h2>Evaluations, item by item</h2>
        <p class="note">
          {all?.length === 1 ? "One evaluation lies" : "No evaluations lie"} in this folder; two are
          compared. <code>dftune eval RUN --suite gsm8k --out evals/NAME</code> in it makes one.
        </p>
        {problem && <p class="problem">{problem}</p>}
      </section>
    )
  }
  const choice = (label: string, value: string, onChange: (value: string) => void) => (
    <label>
      {label}{" "}
      <select value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        <option value="">choose</option>
        {all.map((one) => (
          <option key={one.name}>{one.name}</option>
        ))}
      </select>
    </label>
  )
  return (
    <section class="card" aria-label="Evaluations">
      <h2>Evaluations, item by item</h2>
      <div class="row controls">
        {choice("A", a, setA)}
        {choice("B", b, setB)}
        {shared.length > 1 && (
          <label>
            suite{" "}
            <select value={chosen} onChange={(event) => setSuite(event.currentTarget.value)}>
              {shared.map((one) => (
                <option key={one}>{one}</option>
              ))}
            </select>
          </label>
        )}
      </div>
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      {a !== "" && b !== "" && a !== b && shared.length === 0 && <p>They share no suite.</p>}
      {told && <Items key={`${a} ${b} ${told.suite}`} told={told} />}
    </section>
  )
}

const KINDS = {
  "only A": "solved by A alone",
  "only B": "solved by B alone",
  both: "solved by both",
  neither: "solved by neither",
} as const
type Kind = keyof typeof KINDS

function kindOf({ right, samples }: ComparedItem): Kind {
  const [a, b] = [2 * right[0] > samples[0], 2 * right[1] > samples[1]]
  return a ? (b ? "both" : "only A") : b ? "only B" : "neither"
}

function Items({ told }: { readonly told: ItemComparison }) {
  const [kind, setKind] = useState<Kind>("only B")
  const { both, only_a, only_b, neither, mcnemar_p, suite } = told
  const counts: Readonly<Record<Kind, number>> = {
    both,
    "only A": only_a,
    "only B": only_b,
    neither,
  }
  const items = told.items.filter((item) => kindOf(item) === kind)
  return (
    <>
      <p>
        {suite}: of {told.items.length} problems A alone solved {only_a} and B alone {only_b}.
        McNemar's exact p is <b>{number(mcnemar_p)}</b>
        {mcnemar_p < 0.05 ? "." : ": the difference may be luck."}
      </p>
      <fieldset class="row kinds">
        <legend class="unseen">Which problems</legend>
        {(Object.keys(KINDS) as Kind[]).map((one) => (
          <label key={one} class="row">
            <input type="radio" name="kind" checked={kind === one} onChange={() => setKind(one)} />
            {KINDS[one]} ({counts[one]})
          </label>
        ))}
      </fieldset>
      {items.slice(0, 50).map((item) => (
        <details key={item.id}>
          <summary>
            {item.id}: {item.prompt.slice(0, 160)}
          </summary>
          <div class="tokens context">{item.prompt}</div>
          <p class="note">gold: {item.gold}</p>
          <div class="split">
            {(["A", "B"] as const).map((name, i) => (
              <div key={name}>
                <p class="note">
                  {name}: {item.right[i]} of {item.samples[i]} right
                </p>
                <div class="tokens">{item.answers[i]}</div>
              </div>
            ))}
          </div>
        </details>
      ))}
      {items.length > 50 && <p class="note">The first 50 of {items.length}.</p>}
    </>
  )
}
