/** notebooks/first-model.ipynb and the script that runs it agree, and its commands exist. */
import { expect, test } from "vitest"
import { bashCells, readNotebook } from "../../scripts/notebook.ts"
import { dftuneCalls, unknownWords } from "./command-lines.ts"

const notebook = readNotebook()

test("every code cell is a script that stops at the first fault, kept without its output", () => {
  expect(notebook.nbformat).toBe(4)
  const code = notebook.cells.filter(({ cell_type }) => cell_type === "code")
  const cells = bashCells(notebook)
  expect(cells.map(({ id }) => id)).toEqual(code.map(({ id }) => id))
  for (const { outputs } of code) expect(outputs).toEqual([])
  for (const { script } of cells) expect(script).toMatch(/^set -euo pipefail\n/)
})

test("it goes from an install to an export, by verbs and options that exist", async () => {
  const calls = bashCells(notebook).flatMap(({ script }) => dftuneCalls(script))
  const verbs = "doctor init preview train chat eval export".split(" ")
  expect(calls.map(([verb]) => verb)).toEqual(verbs)
  for (const words of calls) expect(await unknownWords(words), words.join(" ")).toEqual([])
})

test("a cell that is no script is named", () => {
  const cell = { id: "cell-07", cell_type: "code" as const, source: ["!ls"], outputs: [] }
  expect(() => bashCells({ nbformat: 4, cells: [cell] })).toThrow(/cell-07/)
})
