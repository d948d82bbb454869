import { useEffect, useState } from "preact/hooks"
import type { ToldRow } from "../../../src/server/run-rows.ts"
import type { ToldTokens } from "../../../src/server/token-routes.ts"
import { FactList, type Facts } from "../parts/facts.tsx"
import { InspectedTokens, type PaintedToken } from "../parts/inspected-tokens.tsx"
import { number } from "../parts/words.ts"
import { Abandoned } from "./abandoned.tsx"
import { post, runPath } from "./api.ts"
import { type Moment, momentName } from "./moment.ts"
import { RowSetSelect, useRowSets } from "./row-sets.tsx"
import { useSettings } from "./settings.tsx"

/** What a model makes of a row at a moment; every answer of this page is kept. */
function useTokens(name: string, asked: { set: string; index: number; side: number }, at: Moment) {
  const [known, setKnown] = useState<ReadonlyMap<string, ToldTokens>>(new Map())
  const [problem, setProblem] = useState("")
  const key = JSON.stringify([asked, at])
  useEffect(() => {
    if (known.has(key)) return
    const gone = new AbortController()
    setProblem("")
    post<ToldTokens>(runPath(name, "/tokens"), { ...asked, at }, gone.signal).then(
      (told) => setKnown((before) => new Map([...before, [key, told]])),
      (error: Error) => !gone.signal.aborted && setProblem(error.message),
    )
    return () => gone.abort()
  }, [name, key])
  return { told: known.get(key), problem }
}

const PAINTS = {
  p: "probability",
  weight: "the objective's weight",
  change: "change of p since the base",
} as const
type Paint = keyof typeof PAINTS

export function Microscope({ name, samples }: { readonly name: string; readonly samples: number }) {
  const { told, problem } = useRowSets(name)
  const { settings } = useSettings([name])
  const [settled] = settings
  const [set, setSet] = useState("train")
  const [index, setIndex] = useState(0)
  const [place, setPlace] = useState<number>()
  if (problem) return <p class="problem">{problem}</p>
  if (!told || !settled) return <p class="note">Preparing the rows as training has them …</p>
  const moments: Moment[] = [
    "base",
    ...settled.checkpoints,
    ...(settled.has_model ? (["result"] as const) : []),
  ]
  const at = moments[Math.min(place ?? moments.length - 1, moments.length - 1)]!
  const sets = [
    ...told.sets,
    ...(samples > 0 ? [{ name: "samples", rows: samples, files: [] }] : []),
  ]
  const rows = sets.find((one) => one.name === set)?.rows ?? 0
  return (
    <section aria-label="Token microscope">
      <div class="row controls">
        <RowSetSelect
          sets={sets}
          value={set}
          onChange={(next) => {
            setSet(next)
            setIndex(0)
          }}
        />
        <label>
          row{" "}
          <input
            type="number"
            class="short"
            min={1}
            max={rows}
            value={index + 1}
            onChange={(event) => {
              const value = event.currentTarget.valueAsNumber
              if (value >= 1 && value <= rows) setIndex(value - 1)
            }}
          />{" "}
          of {rows}
        </label>
        <label class="row grow">
          model at
          <input
            type="range"
            class="wide"
            min={0}
            max={moments.length - 1}
            value={moments.indexOf(at)}
            aria-valuetext={momentName(at)}
            onInput={(event) => setPlace(event.currentTarget.valueAsNumber)}
          />
          <output>{momentName(at)}</output>
        </label>
      </div>
      <Row key={`${set} ${index}`} name={name} set={set} index={index} at={at} />
      {set !== "samples" && (
        <Abandoned
          name={name}
          set={set}
          at={at}
          objective={told.objective}
          onRow={(row) => setIndex(row)}
        />
      )}
    </section>
  )
}

function Row({
  name,
  set,
  index,
  at,
}: {
  readonly name: string
  readonly set: string
  readonly index: number
  readonly at: Moment
}) {
  const [sides, setSides] = useState<readonly ToldRow[]>()
  const [problem, setProblem] = useState("")
  const [paint, setPaint] = useState<Paint>("p")
  useEffect(() => {
    const gone = new AbortController()
    post<{ sides: ToldRow[] }>(runPath(name, "/row"), { set, index }, gone.signal).then(
      ({ sides }) => setSides(sides),
      (error: Error) => !gone.signal.aborted && setProblem(error.message),
    )
    return () => gone.abort()
  }, [name, set, index])
  if (problem) return <p class="problem">{problem}</p>
  if (!sides) return <p class="note">Reading the row …</p>
  return (
    <>
      <div class="row controls">
        <label>
          coloured by{" "}
          <select value={paint} onChange={(event) => setPaint(event.currentTarget.value as Paint)}>
            {Object.entries(PAINTS).map(([key, words]) => (
              <option key={key} value={key}>
                {words}
              </option>
            ))}
          </select>
        </label>
        <span class="note">{sides[0]?.place}. Grey tokens are not trained.</span>
      </div>
      <div class="split">
        {sides.map((row, side) => (
          <Side
            key={side}
            name={name}
            row={row}
            asked={{ set, index, side }}
            at={at}
            paint={paint}
            pairs={sides.length > 1}
          />
        ))}
      </div>
    </>
  )
}

function Side({
  name,
  row,
  asked,
  at,
  paint,
  pairs,
}: {
  readonly name: string
  readonly row: ToldRow
  readonly asked: { readonly set: string; readonly index: number; readonly side: number }
  readonly at: Moment
  readonly paint: Paint
  readonly pairs: boolean
}) {
  const [picked, setPicked] = useState<number>()
  const now = useTokens(name, asked, at)
  const base = useTokens(name, asked, "base")
  const title = pairs ? (asked.side === 0 ? "chosen" : "rejected") : "row"
  const values = valuesOf(paint, now.told, base.told)
  const most = Math.max(1, ...values.map((value) => Math.abs(value ?? 0)))
  const tokens = row.tokens.map((text, i): PaintedToken => {
    const value = i === 0 ? null : (values[i - 1] ?? null)
    return { text, isContext: row.mask[i] !== 1, value: value === null ? null : value / most }
  })
  return (
    <div class="card">
      {pairs && <h2>{title}</h2>}
      <InspectedTokens
        label={`Tokens of the ${title}, ${PAINTS[paint]}`}
        tokens={tokens}
        diverging={paint === "change"}
        picked={picked}
        onPick={setPicked}
      />
      {!now.told && !now.problem && <p class="note">Asking the model at {momentName(at)} …</p>}
      {(now.problem || (paint === "change" && base.problem)) && (
        <p class="problem" role="alert">
          {now.problem || base.problem}
        </p>
      )}
      {paint === "weight" && now.told && !now.told.weight && (
        <p class="note">The weights of this objective depend on more than a single row.</p>
      )}
      <Picked row={row} picked={picked} now={now.told} base={base.told} />
    </div>
  )
}

/** Of every token after the first. */
function valuesOf(
  paint: Paint,
  now: ToldTokens | undefined,
  base: ToldTokens | undefined,
): readonly (number | null)[] {
  if (!now) return []
  if (paint === "p") return now.p
  if (paint === "weight") return now.weight ?? []
  return base ? now.p.map((p, i) => p - base.p[i]!) : []
}

const CLASSES = ["content", "end of turn", "template or special"]

/** All that is known of one token, in words. */
function Picked({
  row,
  picked,
  now,
  base,
}: {
  readonly row: ToldRow
  readonly picked: number | undefined
  readonly now: ToldTokens | undefined
  readonly base: ToldTokens | undefined
}) {
  if (picked === undefined) {
    return <p class="note picked-line">Point at a token, or walk with the arrow keys.</p>
  }
  const i = picked - 1
  const p = now?.p[i]
  const before = base?.p[i]
  const weight = now?.weight?.[i]
  const facts: Facts = [
    ["p", number(p, 4)],
    ["p of the base", number(before, 4)],
    ["weight", weight === undefined || weight === null ? "–" : number(weight, 4)],
    ["rank", String(now?.rank[i] ?? "–")],
    ["entropy", number(now?.entropy[i], 4)],
    ["trained", row.mask[picked] === 1 ? "yes" : "no"],
    ["class", CLASSES[row.token_class[picked] ?? 0]!],
  ]
  return (
    <div class="picked-token" role="status">
      <p>
        <code>{JSON.stringify(row.tokens[picked])}</code>
      </p>
      <FactList facts={facts} />
      {i < 0 ? (
        <p class="note">Nothing comes before the first token, so nothing predicts it.</p>
      ) : (
        <ol class="alternatives" aria-label="Likeliest tokens here">
          {now?.alternatives[i]?.map((one) => (
            <li key={one.text}>
              <code>{JSON.stringify(one.text)}</code>
              <span class="number">{number(one.p)}</span>
              <meter min={0} max={1} value={one.p} aria-label={`p of ${one.text}`} />
            </li>
          ))}
        </ol>
      )}
    </div>
  )
}
