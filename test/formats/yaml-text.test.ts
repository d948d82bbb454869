import { expect, test } from "vitest"
import { InputError } from "../../src/errors.ts"
import { mappingOf, readYaml } from "../../src/formats/yaml-text.ts"
import { fc } from "../seeded-check.ts"

/** What is said of a text in a file F; undefined where it is read. */
function said(text: string): string | undefined {
  try {
    mappingOf(readYaml(text, "F"), "F")
    return undefined
  } catch (error) {
    expect(error).toBeInstanceOf(InputError)
    return (error as Error).message
  }
}

const TAB = "a tab stands in the indentation; YAML takes only spaces there"
const NO_VALUE = "has no value; expected key: value, with a space after the colon"
const DEEPER = "this line is indented deeper than the one above it, which has a value already"
const OTHERWISE =
  "this line is indented otherwise than those it belongs to; begin it in their column"
const COMMA = "a comma stands here with nothing before it; remove it"
const NAMES =
  "&, * and ! begin names in YAML, and one stands wrong here; put a text that begins with it in quotes"

test.each([
  [
    "a key twice",
    "a: 1\nb: 2\na: 3\n",
    '3:1: the key "a" is there twice, first in line 1; keep one',
  ],
  [
    "an inner key twice",
    "a: {b: 1, b: 2}",
    '1:11: the key "b" is there twice, first in line 1; keep one',
  ],
  ["a quote without end", 'a: "b\nc:\n  d: e\n', '1:4: the quote " that begins here has no end'],
  [
    "an apostrophe without end",
    "a: 1\nb: 'c\nd: 'e'\n",
    "2:4: the quote ' that begins here has no end",
  ],
  ["a key's quote", '"a: 1\n', '1:1: the quote " that begins here has no end'],
  ["a quote in a list", 'a: ["b, c]\nd: 1\n', '1:5: the quote " that begins here has no end'],
  [
    "an apostrophe inside",
    "a: 'it's'\n",
    "1:8: the text in ' ends before this; inside it, write '' for one '",
  ],
  [
    "a quote inside",
    'a: "b" c\n',
    '1:8: the text in " ends before this; inside it, write \\" for one "',
  ],
  ["a list without end", "a: [\n  b\nc: d\n", "1:4: [ has no ] that closes it before line 3"],
  ["a mapping without end", "a: { b: [c]\n", "1:4: { has no } that closes it"],
  ["the wrong bracket", "a: [b}\n", "1:4: [ has no ] that closes it"],
  ["a bracket too many", "a: [b]]\n", "1:7: ] closes nothing; remove it"],
  ["a tab", "a:\n\tb: 1\n", `2:1: ${TAB}`],
  ["a tab before an item", "a:\n  b:\n\t- c\n", `3:1: ${TAB}`],
  ["a tab in brackets", "a: {\n\tb: 1\n}\n", `2:2: ${TAB}`],
  ["no space after the colon", "a:1\nb: 2\n", `1:1: "a:1" ${NO_VALUE}`],
  ["a last line without a value", "a: 1\nb\n", `2:1: "b" ${NO_VALUE}`],
  [
    "a single line without a value",
    "a=1\n",
    '1:1: expected keys and values, got "a=1"; write key: value, with a space after the colon',
  ],
  [
    "two colons",
    "a: b: c\n",
    '1:4: a second ": " stands in this line; put the value in quotes, or begin a new line',
  ],
  ["a line too deep", "a:\n  b: 1\n    c: 2\n", `3:5: ${DEEPER}`],
  ["a line too shallow", "a:\n   b: 1\n  c: 2\n", `3:1: ${OTHERWISE}`],
  [
    "an item too shallow",
    "a:\n  - b\n - c\n",
    "3:1: this line is indented otherwise than the list above it; begin it in the list's column",
  ],
  ["a key among items", "a:\n  - b\n  c: d\n", `3:1: ${OTHERWISE}`],
  ["a comma too many", "a: [b,, c]\n", `1:7: ${COMMA}`],
  ["a comma missing in a list", "a: ['b' 'c']\n", "1:9: a comma is missing before this"],
  [
    "a comma missing in a mapping",
    "a: {b: 1 c: 2}\n",
    "1:8: a comma is missing between two items of [ ] or { }",
  ],
  [
    "a comma missing at a line's end",
    "{a: 1\nb: 2}\n",
    "1:5: a comma is missing at the end of this line",
  ],
  [
    "a glob",
    "a: *.jsonl\n",
    "1:4: *.jsonl repeats what an earlier line names &.jsonl, and none does; put a text that begins with * in quotes",
  ],
  ["a lone star", "a: *\n", `1:4: ${NAMES}`],
  [
    "a sign that begins no text",
    "a: @b\n",
    "1:4: @ cannot begin a text; put a text that begins with it in quotes",
  ],
  [
    "a type",
    "a: !b c\n",
    "1:4: ! begins the name of a type, and this one is not known; put a text that begins with it in quotes",
  ],
  [
    "a placeholder",
    "a: {{ b }}\n",
    "1:5: expected a text as the key, got a list or mapping; put a text with { or [ in quotes",
  ],
  [
    "a Windows path in quotes",
    'a: "C:\\models"\n',
    "1:7: \\m is no escape; inside double quotes a backslash is written \\\\",
  ],
  [
    "a remark without a space",
    "a: 'b'#c\n",
    "1:7: # begins a comment only after a space; put a text with # in quotes",
  ],
  [
    "two documents",
    "a: 1\n---\nb: 2\n",
    "2:1: a second document begins here; expected one, so remove this line",
  ],
  [
    "a list beside its key",
    "a: - b\n",
    "1:4: a list begins on the line after its key, each item behind a - of its own",
  ],
  ["a text beside its sign", "a: |b\n  c\n", "1:5: behind | or > the text begins on a new line"],
  ["TOML", "[a]\nb = 1\n", '2:1: expected key: value, or nothing more, got "b = 1"'],
  ["a list", "- a\n- b\n", "1:1: expected keys and values, got a list of 2"],
  ["too deep", "[".repeat(9000), /^F:1:\d+: expected lists and mappings that nest less deep$/],
])("%s", (_what, text, expected) => {
  if (typeof expected === "string") expect(said(text)).toBe(`F:${expected}`)
  else expect(said(text)).toMatch(expected)
})

test("a file of nothing, or of remarks alone, says so", () => {
  expect(said("")).toBe("F: expected keys and values, got nothing")
  expect(said("# a: 1\n")).toBe("F: expected keys and values, got nothing")
})

const CONFIG = `model: "a b"
data: { train: ["a.jsonl", 'b.jsonl'], eval: [] }
objective:
  name: dft
  normalization: tokens # as in the paper
lists:
  - one
  - two: 3
`

test("whatever is wrong has a line and a column, and none of the parser's words", () => {
  const other = fc.oneof(
    fc.constantFrom("\t", "\n", " ", '"', "'", "[", "}", ",", ": ", "#", "*", "&", "!", "|", "- "),
    fc.string({ maxLength: 3 }),
  )
  fc.assert(
    fc.property(fc.nat(CONFIG.length), fc.nat(3), other, (at, gone, text) => {
      const message = said(CONFIG.slice(0, at) + text + CONFIG.slice(at + gone))
      if (message === undefined) return
      expect(message).toMatch(/^F:\d+:\d+: /)
      expect(message.replaceAll(/"(\\.|[^"])*"/g, "")).not.toMatch(
        /implicit|flow|scalar|block|node|token|collection|compact/i,
      )
    }),
    { numRuns: 2000 },
  )
})
