import { expect, test } from "vitest"
import { jsonProblem } from "../../src/formats/json-problem.ts"
import { fc } from "../seeded-check.ts"

test("what JSON.parse takes has no problem, and what it refuses has one", () => {
  const text = fc.oneof(
    fc.json(),
    fc.string(),
    fc.tuple(fc.json(), fc.nat(), fc.string({ maxLength: 2 })).map(([json, at, other]) => {
      const place = at % (json.length + 1)
      return json.slice(0, place) + other + json.slice(place + other.length)
    }),
  )
  fc.assert(
    fc.property(text, (given) => {
      let isJson = true
      try {
        JSON.parse(given)
      } catch {
        isJson = false
      }
      expect(jsonProblem(given) === undefined, given).toBe(isJson)
    }),
    { numRuns: 2000 },
  )
})

test.each([
  ['{"a": NaN}', 6, "a value", "NaN"],
  ['{"a": None}', 6, "a value", "None"],
  ['{"a": True}', 6, "a value", "True"],
  ["{'a': 1}", 1, "a key in double quotes", "'"],
  ['{"a": 1', 7, "a comma or }", "the end of the text"],
  ['{"a": 1,}', 8, "a key in double quotes", "} behind a comma"],
  ["[1,\n]", 4, "a value", "] behind a comma"],
  ['{"a": 1 "b": 2}', 8, "a comma or }", '"'],
  ['{"a": "x\ny"}', 8, 'a " at the end of the text', "a line break"],
  ['{"a": "x\ty"}', 8, 'a " at the end of the text', "the character U+0009"],
  ['{"a": "\\d"}', 7, "an escape that JSON knows", "\\d"],
  ['{"a": 1}{"a": 2}', 8, "nothing more", "{"],
  ['"a', 2, 'a " at the end of the text', "the end of the text"],
  ["<!DOCTYPE html>", 0, "a value", "<"],
  ["# rows", 0, "a value", "#"],
  ["{\u0000}", 1, "a key in double quotes", "the character U+0000"],
  ["[}", 1, "a value", "}"],
  ["{]", 1, "a key in double quotes", "]"],
  ["", 0, "a value", "the end of the text"],
])("%s", (text, at, expected, got) => {
  expect(jsonProblem(text)).toEqual({ at, expected, got })
})
