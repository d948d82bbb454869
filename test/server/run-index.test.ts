import {
  appendFileSync,
  existsSync,
  readFileSync,
  renameSync,
  utimesSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { expect, test } from "vitest"
import type { RunEvent } from "../../src/run/events.ts"
import { detailsBytes, detailsOf } from "../../src/run/run-details.ts"
import { emptyIndex, type RunIndex, take } from "../../src/run/run-index.ts"
import {
  addHistogram,
  addValue,
  emptyHistograms,
  emptySeries,
  shownMeans,
} from "../../src/run/thinned.ts"
import { RunIndexes } from "../../src/server/run-indexes.ts"
import { linesFrom } from "../../src/server/run-lines.ts"
import { endEvent, evalEvent, linesOf, startEvent, stepEvent } from "./run-events.ts"
import { newFolder, writeRun } from "./serving.ts"

const histogram = (step: number) => ({
  ...{ type: "histogram", time: "2026-01-01T00:00:00.000Z", step, name: "train" },
  ...{ bins: Array(10).fill(step), small_bins: [1, 0, 0] },
})
const EVENTS = [
  startEvent,
  stepEvent(1, { nll: 3 }),
  histogram(1),
  stepEvent(2, { nll: null, measures: { gap: 4 } }),
  evalEvent(2, { name: "__proto__", nll: 2 }),
  evalEvent(2, { name: "math", score: 0.5, n: 4 }),
  stepEvent(3, { nll: 1 }),
  evalEvent(3, { name: "math", score: 0.25, n: 4 }),
  evalEvent(3, { name: "__proto__", nll: 2.5 }),
]

function wanted(events: readonly object[]): RunIndex {
  const index = emptyIndex()
  for (const event of events) take(index, event as RunEvent)
  return index
}

const dir = newFolder()
const run = (name: string) => ({ name, path: join(dir, name) })

async function expectIndex(indexes: RunIndexes, name: string, events: readonly object[]) {
  const { summary, details } = await indexes.whole(run(name))
  const { last: _, end: __, ...rest } = summary
  const { last: ___, end: ____, ...right } = wanted(events).summary
  expect(rest).toEqual(right)
  expect(details).toEqual(wanted(events).details)
}

test("an index has each step's numbers, the best of each evaluation, and no name of a prototype's", () => {
  const { summary, details } = wanted(EVENTS)
  expect(summary.best.get("math")).toEqual({ score: { value: 0.5, step: 2 } })
  expect(summary.best.get("__proto__")).toEqual({ nll: { value: 2, step: 2 } })
  expect(({} as { nll?: unknown }).nll).toBeUndefined()
  expect(details.columns.get("nll")).toEqual([3, Number.NaN, 1])
  expect(details.columns.get("measures.gap")).toEqual([Number.NaN, 4, Number.NaN])
  expect(details.columns.get("step")).toEqual([1, 2, 3])
  const { details: read, last } = detailsOf(detailsBytes(details, "x"))!
  expect([read, last]).toEqual([details, "x"])
})

test("steps that tell other numbers, or in another order, fill the columns of their names", () => {
  const { columns } = wanted([
    { ...stepEvent(1), a: 1, b: 2 },
    { ...stepEvent(2), b: 3, a: 4 },
    { b: 5, ...stepEvent(3) },
    { ...stepEvent(4), "c.d": 6, c: { d: 7, e: 8 } },
    { ...stepEvent(5), a: 9 },
  ]).details
  const { NaN: none } = Number
  expect(columns.get("a")).toEqual([1, 4, none, none, 9])
  expect(columns.get("b")).toEqual([2, 3, 5, none, none])
  expect(columns.get("c.d")).toEqual([none, none, none, 6, none])
  expect(columns.get("c.e")).toEqual([none, none, none, 8, none])
  expect(columns.get("step")).toEqual([1, 2, 3, 4, 5])
  for (const column of columns.values()) expect(column).toHaveLength(5)
})

test("a line whose fields are of another kind is no event", () => {
  const { nll: _, ...noNll } = stepEvent(1)
  const lines = [
    stepEvent(1),
    noNll,
    ...[{ nll: "1" }, { mean_p: { a: 1 } }, { extra: "1" }, { time: 5 }, { type: 5 }].map((wrong) =>
      stepEvent(1, wrong),
    ),
    { ...startEvent, run_id: 5 },
    { ...startEvent, note: "free" },
    stepEvent(2, { extra: { a: 1, b: null }, eos_p: null }),
    stepEvent(3, { note: "größer" }),
    stepEvent(3, { größer: 1 }),
  ]
  const path = join(writeRun(dir, "kinds", { events: lines }), "events.jsonl")
  const told = linesFrom(path, 0).lines.map(({ event }) => event)
  expect(told).toEqual([0, 8, 9, 11].map((i) => lines[i]))
})

test("a new server goes on from the index beside the run; what a resumed run put there is read anew", async () => {
  const path = writeRun(dir, "kept", { events: [...EVENTS, endEvent(3)] })
  const first = new RunIndexes({ readOnly: false })
  await expectIndex(first, "kept", [...EVENTS, endEvent(3)])
  const summary = join(path, "page/summary.json")
  expect(existsSync(summary)).toBe(true)

  // a server that trusted nothing would not see this number
  writeFileSync(summary, readFileSync(summary, "utf8").replace('"warnings":0', '"warnings":7'))
  const events = join(path, "events.jsonl")
  appendFileSync(events, linesOf([stepEvent(4, { extra: 2 })]))
  const second = new RunIndexes({ readOnly: false })
  const told = await second.whole(run("kept"))
  expect([told.summary.warnings, told.summary.step!.step]).toEqual([7, 4])
  expect(told.details.columns.get("extra")).toEqual([NaN, NaN, NaN, 2])
  expect(await second.summary(run("kept"))).toEqual(told.summary)

  const other = [...EVENTS.slice(0, 4), stepEvent(3, { nll: 9 })]
  writeFileSync(`${events}.new`, linesOf(other))
  renameSync(`${events}.new`, events)
  await expectIndex(second, "kept", other)
  await expectIndex(new RunIndexes({ readOnly: true }), "kept", other)
})

test("a killed run's index is written once it is quiet, and none with read-only", async () => {
  for (const [name, readOnly] of [
    ["quiet", false],
    ["untouched", true],
  ] as const) {
    const path = writeRun(dir, name, { events: EVENTS })
    utimesSync(join(path, "events.jsonl"), 1e9, 1e9)
    const indexes = new RunIndexes({ readOnly })
    await expectIndex(indexes, name, EVENTS)
    expect(existsSync(join(path, "page/summary.json"))).toBe(!readOnly)
    await expectIndex(indexes, name, EVENTS)
  }
})

test.each([
  ["no JSON", "{"],
  ["another version", '{"version":99}'],
  [
    "wrong kinds",
    '{"version":1,"last":"0-1-0123456789abcdef","end":5,"warnings":0,"best":{},"nll":{}}',
  ],
  [
    "an event that is none",
    '{"version":1,"last":"0-1-0123456789abcdef","end":5,"warnings":0,"best":[],"nll":{"means":[],"sum":0,"count":0,"every":1},"start":{"type":"run.start"}}',
  ],
])("an index that a stranger wrote is made anew: %s", async (name, text) => {
  const path = writeRun(dir, name, { events: [...EVENTS, endEvent(3)] })
  await new RunIndexes({ readOnly: false }).whole(run(name))
  writeFileSync(join(path, "page/summary.json"), text)
  writeFileSync(join(path, "page/details.bin"), text)
  await expectIndex(new RunIndexes({ readOnly: false }), name, [...EVENTS, endEvent(3)])
})

test("bytes of any other kind are no details", () => {
  const bytes = detailsBytes(wanted(EVENTS).details, "x")
  for (const cut of [0, 3, 4, 20, bytes.length - 1])
    expect(detailsOf(bytes.slice(0, cut))).toBeUndefined()
  expect(detailsOf(Uint8Array.of(255, 255, 255, 255, 1))).toBeUndefined()
})

test("a long series becomes means of neighbours, histograms sums of them", () => {
  const series = emptySeries()
  for (let i = 0; i < 1000; i++) addValue(series, i)
  const means = shownMeans(series)
  expect(series.every).toBe(8)
  expect(means).toHaveLength(125)
  expect([means[0], means[1], means.at(-1)]).toEqual([3.5, 11.5, 995.5])
  const all = emptyHistograms()
  for (let step = 1; step <= 300; step++) addHistogram(all, { step, counts: [1, step] })
  expect(all.counts.reduce((sum, [one]) => sum + one!, 0)).toBe(300)
  expect(all.counts.reduce((sum, [, two]) => sum + two!, 0)).toBe((300 * 301) / 2)
  expect([all.every, all.steps[0], all.steps.at(-1)]).toEqual([4, 4, 300])
})
