import { expect, test } from "vitest"
import { exampleText, pairText } from "../../src/commands/shell/preview-text.ts"
import type { PreviewExample } from "../../src/data/preview-rows.ts"
import { previewPage } from "../../src/report/preview-page.ts"
import { sideBySide } from "../../src/report/side-by-side.ts"
import { previewed as ofRows } from "../data/previewed.ts"

const plain = (text: string) => [{ text, paint: (line: string) => line }]

test("both texts are cut to half of the width, whatever their lengths", () => {
  const rows = sideBySide(plain("abcdefghijkl\nm"), plain("xyz"), 19).split("\n")
  expect(rows).toEqual(["abcdefgh │ xyz", "ijkl     │", "m        │"])
})

test("wide characters take two columns, accents none", () => {
  const rows = sideBySide(plain("漢字漢字漢字"), plain("e\u0301"), 19).split("\n")
  expect(rows).toEqual(["漢字漢字 │ e\u0301", "漢字     │"])
})

test("a piece is painted on each of its lines", () => {
  const paint = (line: string) => `<${line}>`
  const rows = sideBySide([{ text: "abcdefghij", paint }], plain("x"), 19).split("\n")
  expect(rows).toEqual(["<abcdefgh> │ x", "<ij>       │"])
})

const previewed = (rows: readonly object[]) => ofRows(rows, { purpose: "preference" })

test("a pair is told where it parts, and what both begin with is shown once", async () => {
  const rows = [
    { prompt: "what is 1 + 1? ", chosen: "it is 2.", rejected: "it is 11, i think" },
    { prompt: "short? ", chosen: "yes", rejected: "no" },
  ]
  const { examples: shown, ...summary } = await previewed(rows)
  expect(shown.map(({ side }) => side)).toEqual(["chosen", "rejected", "chosen", "rejected"])
  const [chosen, rejected, other] = shown as [PreviewExample, PreviewExample, PreviewExample]
  const at = chosen.parts_at!
  expect(rejected.parts_at).toBe(at)
  expect(chosen.token_ids.slice(0, at)).toEqual(rejected.token_ids.slice(0, at))
  expect(chosen.token_ids[at]).not.toBe(rejected.token_ids[at])
  expect(chosen.tokens.slice(0, at).join("")).toBe("what is 1 + 1? it is ")
  const text = pairText(chosen, rejected)
  expect(text.split("what is 1 + 1?")).toHaveLength(2)
  expect(text).toContain(`they part at token ${at + 1}`)
  expect(text).toMatch(/chosen +│ rejected/)
  expect(text).toMatch(/2\..* │ .*11, i think/)
  // its prompt has other letters than its answers: they part where the answers begin
  expect(other.tokens.slice(0, other.parts_at).join("")).toBe("short? ")
  const page = previewPage("pairs", shown, summary)
  expect(page.match(/<section>/g)).toHaveLength(2)
  expect(page.match(/class="pair"/g)).toHaveLength(2)
  expect(page.match(/>w<\/span>/g)).toHaveLength(1)
})

test("one answer that begins the other parts where it ends", async () => {
  const { examples: shown } = await previewed([
    { prompt: "a? ", chosen: "yes", rejected: "yes yes" },
  ])
  const [chosen] = shown
  // the end of text stands where the other goes on
  expect(chosen!.tokens.slice(0, chosen!.parts_at).join("")).toBe("a? yes")
  expect(exampleText(chosen!)).toContain("a? ")
})
