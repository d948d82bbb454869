import { spawnSync } from "node:child_process"
import { mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, test } from "vitest"
import { printable, printableJson, printableLine } from "../../src/host/printable.ts"
import { terminalView } from "../../src/report/live-view.ts"
import { isRunEvent } from "../../src/run/event-fields.ts"
import { DFTUNE } from "../dftune.ts"
import { sumRows, tinyModel } from "../train/tiny-model.ts"

/** Sets the clipboard, clears the screen, colours, C1, overrides the order, deletes, returns. */
const BAD = "\x1b]52;c;cm0=\x07\x1b[2J\x1b[31m\u009b2J\u202e\u2066\x08\r\u2028"
// biome-ignore lint/suspicious/noControlCharactersInRegex: none of them may be left
const OBEYED = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069\u2028\u2029]/

test("nothing that a terminal obeys is left; the rest stays", () => {
  expect(printable(`a${BAD}b\n\tü漢🙂`)).not.toMatch(OBEYED)
  expect(printable("ü漢\n\t🙂 é")).toBe("ü漢\n\t🙂 é")
  expect(printableLine("a\nb\tc")).toBe("a b c")
  const value = { [`k${BAD}`]: [`v${BAD}`, "ü"] }
  expect(printableJson(value)).not.toMatch(OBEYED)
  expect(JSON.parse(printableJson(value))).toEqual(value)
})

test("the live view of a stranger's run", () => {
  let shown = ""
  const options = { live: false, color: true, columns: () => 80 }
  const view = terminalView((text) => (shown += text), options)
  const at = { time: "", step: 1 }
  view.show({ type: "warning", ...at, code: BAD, message: BAD, hint: BAD })
  view.show({ type: "checkpoint", ...at, path: BAD })
  view.show({ type: "run.end", ...at, reason: "failed", message: BAD, output: BAD })
  view.close()
  // biome-ignore lint/suspicious/noControlCharactersInRegex: our own colours
  expect(shown.replaceAll(/\x1b\[\d+m/g, "")).not.toMatch(OBEYED)
  expect(shown).not.toContain("\x1b[31m]52")
})

function dftune(cwd: string, ...args: string[]) {
  const env = { ...process.env, FORCE_COLOR: "1", NO_COLOR: "", DFTUNE_CACHE: join(cwd, "cache") }
  const node = [...DFTUNE, ...args]
  const { stdout, stderr } = spawnSync(process.execPath, node, { cwd, encoding: "utf8", env })
  return stdout + stderr
}

test("the command line: rows, errors and names come without their escapes, ours keep theirs", () => {
  const folder = mkdtempSync(join(tmpdir(), "dftune-printable-"))
  tinyModel(folder)
  sumRows(folder, 2)
  const rows = [{ prompt: `x${BAD}`, completion: `y${BAD}` }]
  writeFileSync(join(folder, "bad.jsonl"), rows.map((row) => `${JSON.stringify(row)}\n`).join(""))
  const config = { model: "model-start", data: { train: ["bad.jsonl"], max_length: 64 } }
  writeFileSync(join(folder, "c.json"), JSON.stringify(config))
  const seen = dftune(folder, "preview", "c.json")
  expect(seen).toContain("tokens")
  const named = dftune(folder, "train", "c.json", "--set", `data.train=["no${BAD}.jsonl"]`)
  expect(named).toContain("error:")
  for (const text of [seen, named]) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: our own colours
    expect(text.replaceAll(/\x1b\[\d+m/g, "")).not.toMatch(OBEYED)
  }
  expect(seen).toContain("\x1b[")
})

test.each([
  [{ type: "step", step: "<img onerror=alert(1)>" }],
  [{ type: "histogram", step: 1, name: "train", bins: { reduce: 1 }, small_bins: [] }],
  [{ type: "warning", step: 1, code: 5, message: "m", hint: "" }],
  [{ type: "eval", step: 1, name: "e", nll: 1, reward_margin: "<script>" }],
  [{ type: "run.end", step: 1, reason: "<b>" }],
  [{ type: "sample", step: 1, prompt: [], completion: "", tokens: [], probabilities: [] }],
  [{ type: ["step"], step: 1 }],
  ["step"],
])("a line of a stranger's events that is not what it says: %j", (value) => {
  expect(isRunEvent(value)).toBe(false)
})
