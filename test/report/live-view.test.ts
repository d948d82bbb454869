import { expect, test } from "vitest"
import {
  sparkline,
  type TerminalOptions,
  terminalOptions,
  terminalView,
} from "../../src/report/live-view.ts"
import { shortBytes, shortCount, shortDuration, shortNumber } from "../../src/report/units.ts"
import type { RunEvent, StepEvent } from "../../src/run/events.ts"
import { madeUpRun } from "./made-up-run.ts"

const ESCAPE = "\u001b"

function shown(events: readonly RunEvent[], options: Partial<TerminalOptions> = {}): string {
  let text = ""
  const view = terminalView((part) => (text += part), {
    ...{ live: false, color: false, columns: () => 80 },
    ...options,
  })
  for (const event of events) view.show(event)
  view.close()
  return text
}

const events = madeUpRun({ objective: "dft", steps: 100 })

test("without a terminal a run is a few plain lines", () => {
  const lines = shown(events).trimEnd().split("\n")
  expect(lines[0]).toContain("dft on onnx (cpu), 494M parameters, 100 steps")
  const steps = lines.filter((line) => line.startsWith("step"))
  expect(steps.length).toBeGreaterThan(15)
  expect(steps.length).toBeLessThan(25)
  expect(steps[0]).toMatch(/^step 1\/100 · loss [\d.]+ · nll [\d.]+ · p 0\.\d+ · tok\/s/)
  expect(steps.at(-1)).toContain("step 100/100")
  expect(lines.at(-1)).toMatch(/^done/)
  expect(lines.join("\n")).not.toContain(ESCAPE)
})

test("without a terminal slow steps are told every ten seconds", () => {
  const slow = events.flatMap((event): RunEvent[] => {
    if (event.type !== "step") return []
    return [{ ...event, time: new Date(4000 * event.step).toISOString() }]
  })
  const started = { ...events[0]!, steps: 10_000 } as RunEvent
  const lines = shown([started, ...slow]).split("\n")
  const told = lines.flatMap((line) => /^step (\d+)/.exec(line)?.[1] ?? []).map(Number)
  expect(told).toEqual(Array.from({ length: 34 }, (_, i) => 1 + 3 * i))
})

test.each([
  [120, "8 rows, 120 tokens trained; 3 steps of 16 rows"],
  [0, "8 prompts; 3 steps of 16 samples"],
])("what a run begins with, %i tokens of its own to train", (tokens, line) => {
  const [start] = events
  const plan = { supervised_tokens_per_epoch: tokens, rows: 8, batch_size: 16, steps: 3 }
  expect(shown([{ ...start, ...plan } as RunEvent])).toContain(line)
})

test("on a terminal two lines are drawn over, and what stays is above them", () => {
  const text = shown(events, { live: true })
  expect(text).toContain(`\r${ESCAPE}[2K${ESCAPE}[1A${ESCAPE}[2K`)
  expect(text).toContain("left")
  expect(text).toMatch(/nll [▁▂▃▄▅▆▇█]{50,}/)
  const warning = text.indexOf("warning")
  expect(text.slice(warning)).toContain("step 100/100")
})

/** What stands on the screen in the end: lines, cursor movements applied. */
function screen(text: string): string[] {
  const lines = [""]
  let row = 0
  // biome-ignore lint/suspicious/noControlCharactersInRegex: cursor movements are what is read
  for (const part of text.split(/(\u001b\[2K|\u001b\[1A|\r|\n)/)) {
    if (part === `${ESCAPE}[2K`) lines[row] = ""
    else if (part === `${ESCAPE}[1A`) row -= 1
    else if (part === "\n") {
      row += 1
      if (row === lines.length) lines.push("")
    } else if (part !== "\r") lines[row] += part
  }
  return lines
}

test("in the end the screen holds each lasting line once, and the last live lines", () => {
  const lines = screen(shown(events, { live: true }))
  expect(lines.filter((line) => line.startsWith("step"))).toHaveLength(1)
  expect(lines.filter((line) => line.startsWith("eval"))).toHaveLength(
    events.filter(({ type }) => type === "eval").length,
  )
  expect(lines.at(-2)).toMatch(/^done/)
})

test.each([20, 40, 60, 100])("nothing is wider than a terminal of %s columns", (columns) => {
  const live = shown(events, { live: true, columns: () => columns })
  for (const line of screen(live).filter((text) => /^(step|nll)/.test(text))) {
    expect(line.length).toBeLessThan(Math.max(21, columns))
  }
})

test("colour only where wanted", () => {
  expect(shown(events, { live: true, color: true })).toContain(`${ESCAPE}[1m`)
  expect(shown(events, { live: true })).not.toContain(`${ESCAPE}[1m`)
  const tty = { isTTY: true, columns: 100 }
  expect(terminalOptions(tty, {})).toMatchObject({ live: true, color: true })
  expect(terminalOptions(tty, { NO_COLOR: "1" })).toMatchObject({ live: true, color: false })
  expect(terminalOptions(tty, { TERM: "dumb" })).toMatchObject({ live: false, color: false })
  expect(terminalOptions({ isTTY: false, columns: 100 }, {})).toMatchObject({ live: false })
})

test("text from data cannot command the terminal", () => {
  const event: RunEvent = {
    ...{ type: "warning", time: "2026-01-01T00:00:00Z", step: 1, code: "x", hint: "" },
    message: `${ESCAPE}[2Jgone\r\nnow`,
  }
  const text = shown([event])
  expect(text).not.toContain(ESCAPE)
  expect(text.trimEnd().split("\n")).toHaveLength(1)
})

test("a step without numbers to show is no trouble", () => {
  const step = events.find((event): event is StepEvent => event.type === "step")!
  const text = shown([{ ...step, loss: Number.NaN, eos_p: null }])
  expect(text).toContain("loss NaN")
})

test("a sparkline spans its values", () => {
  expect(sparkline([0, 1, 2, 3, 4, 5, 6, 7])).toBe("▁▂▃▄▅▆▇█")
  expect(sparkline([2, 2])).toBe("▁▁")
  expect(sparkline([0, Number.NaN, 1])).toBe("▁ █")
  expect(sparkline([])).toBe("")
})

test("numbers as people read them", () => {
  expect([0.07123, 12.345, 0, 1234.5, 2.1e-6, 5e-5, null].map((x) => shortNumber(x))).toEqual([
    ...["0.0712", "12.3", "0", "1235", "2.1e-6", "5e-5", "–"],
  ])
  expect([950, 12_345, 4_560_000, 7e9].map(shortCount)).toEqual(["950", "12.3k", "4.56M", "7.00B"])
  expect([0, 2.1e9, 812e6, 15e9].map(shortBytes)).toEqual(["0 B", "2.1 GB", "812 MB", "15 GB"])
  expect([42, 192, 3900, 97_200, -1].map(shortDuration)).toEqual([
    ...["42s", "3m 12s", "1h 05m", "1d 03h", "0s"],
  ])
})

test("one prompt is followed through the run, with its row's answer beside what is said", () => {
  const sample = (step: number, prompt: string, completion: string) =>
    ({
      ...{ type: "sample", time: "", step, prompt, completion, reference: "4" },
      ...{ tokens: [], probabilities: [] },
    }) as RunEvent
  const said = [
    sample(0, "2 + 2", "5"),
    sample(0, "3 + 3", "7"),
    sample(9, "3 + 3", "6"),
    sample(9, "2 + 2", "4!"),
  ]
  const lines = shown(said).trimEnd().split("\n")
  expect(lines.filter((line) => line.startsWith("sample"))).toEqual([
    "sample at step 0: … 2 + 2",
    "sample at step 9: … 2 + 2",
  ])
  expect(lines.filter((line) => line.includes("says")).map((line) => line.slice(11))).toEqual([
    "5",
    "4!",
  ])
  expect(lines.filter((line) => line.includes("its row"))).toHaveLength(2)
})

test("what is being done stands below the live lines, and goes with the next step", () => {
  let text = ""
  const view = terminalView((part) => (text += part), {
    ...{ live: true, color: false, columns: () => 80 },
  })
  view.status("evaluating held-out 25 %")
  expect(screen(text).at(-1)).toBe("evaluating held-out 25 %")
  const steps = events.filter(({ type }) => type === "run.start" || type === "step").slice(0, 3)
  for (const event of steps) view.show(event)
  expect(screen(text).join("\n")).not.toContain("evaluating")
  view.status("sampling 50 %")
  expect(screen(text).at(-1)).toBe("sampling 50 %")
  expect(screen(text).at(-3)).toMatch(/^step 2\/100/)
  view.close()
  expect(screen(text).join("\n")).not.toContain("sampling")
  const quiet = shown([])
  expect(quiet).toBe("")
})
