import { mkdtempSync, rmSync, symlinkSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { InputError } from "../../src/errors.ts"
import { readTextFile } from "../../src/formats/json-files.ts"
import { statOf } from "../../src/host/stat.ts"
import { namesModule } from "../../src/models/adapters/peft-patterns.ts"

const root = mkdtempSync(join(tmpdir(), "dftune-stat-"))
afterAll(() => rmSync(root, { recursive: true, force: true }))

test("names that no file can have are refused in words, and what is not there is nothing", async () => {
  symlinkSync("loop", join(root, "loop"))
  for (const [name, message] of [
    ["a".repeat(70_000), /^.{200}\.\.\.: the name is too long$/],
    ["\0", /"\\u0000": is no path$/],
    [join(root, "loop"), /loop: its links lead in a circle$/],
  ] as const) {
    expect(() => statOf(name)).toThrow(InputError)
    expect(() => statOf(name)).toThrow(message)
  }
  await expect(readTextFile(`${root}/\0.jsonl`)).rejects.toThrow("is no path")
  expect(statOf(join(root, "nothing"))).toBeUndefined()
  expect(statOf(root)?.isDirectory()).toBe(true)
})

test("an expression that is too large to be used is refused in words", () => {
  const names = `(?:${"a".repeat(70_000)}){1000}`
  expect(() => namesModule(names, "model.layers.0", "adapter_config.json")).toThrow(
    /^adapter_config.json: "\(\?:aaa.{0,200}" is no regular expression that can be used$/,
  )
})
