import { expect, test } from "vitest"
import { jsonLike } from "../../src/formats/json.ts"

test("numbers that a text writes with a point or an exponent keep it where they are the same", () => {
  const source =
    '{"cap": 30.0, "list": [1, 2.0, {"big": 1e3}], "text": "4.0 \\" 5.0", "half": 0.5, "changed": 1.0}'
  const written = jsonLike({ ...JSON.parse(source), changed: 2, added: 3 }, source)
  expect(written.replace(/\s+/g, " ")).toBe(
    '{ "cap": 30.0, "list": [ 1, 2.0, { "big": 1e3 } ], "text": "4.0 \\" 5.0", "half": 0.5, ' +
      '"changed": 2, "added": 3 }',
  )
  expect(JSON.parse(written)).toEqual({ ...JSON.parse(source), changed: 2, added: 3 })
})
