import { spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { expect, test } from "vitest"
import { removeLeft, replaceFileNow, temporaryName } from "../../src/formats/atomic.ts"
import { openLineFile } from "../../src/formats/line-file.ts"
import { fc } from "../seeded-check.ts"

const newFolder = () => mkdtempSync(join(tmpdir(), "dftune-lines-"))
const SRC = fileURLToPath(new URL("../../src", import.meta.url))

test("whatever a kill cut off a last line, what follows is not glued to it", () => {
  const path = join(newFolder(), "lines.jsonl")
  const whole = `${"x".repeat(70_000)}\nsecond\nthird\n`
  fc.assert(
    fc.property(fc.integer({ min: 0, max: whole.length }), (length) => {
      writeFileSync(path, whole.slice(0, length))
      const file = openLineFile(path)
      file.append("next")
      file.close()
      const kept = whole.slice(0, length)
      expect(readFileSync(path, "utf8")).toBe(`${kept.slice(0, kept.lastIndexOf("\n") + 1)}next\n`)
    }),
    { numRuns: 60 },
  )
})

/** Runs a module in a process whose files may have `kilobytes` at most: a disk that fills up. */
function withFullDisk(kilobytes: number, code: string) {
  const command = `ulimit -f ${kilobytes}; exec "$0" --import "$1" --input-type=module -e "$2"`
  const args = ["-c", command, process.execPath, import.meta.resolve("tsx"), code]
  const env = { ...process.env, TSX_DISABLE_CACHE: "1" }
  return spawnSync("bash", args, { encoding: "utf8", env })
}

test.skipIf(process.platform === "win32")(
  "a disk that takes only a part: the line is left out whole, and the user is told",
  () => {
    const path = join(newFolder(), "lines.jsonl")
    const { stdout } = withFullDisk(
      64,
      `const { openLineFile } = await import("${SRC}/formats/line-file.ts")
       const file = openLineFile(${JSON.stringify(path)})
       file.append("short")
       try { file.append("x".repeat(200_000)) } catch (error) { console.log(error.constructor.name, error.message) }
       file.append("after")
       file.close()`,
    )
    expect(stdout).toContain(`InputError cannot write ${path}: the file would be larger`)
    expect(readFileSync(path, "utf8")).toBe("short\nafter\n")
  },
)

test.skipIf(process.platform === "win32")(
  "a disk that takes only a part: the old file stays, and nothing is left beside it",
  () => {
    const folder = newFolder()
    const path = join(folder, "config.json")
    replaceFileNow(path, "old")
    const { stdout } = withFullDisk(
      64,
      `const { replaceFileNow, writeFileAtomic } = await import("${SRC}/formats/atomic.ts")
       for (const write of [replaceFileNow, writeFileAtomic])
         try { await write(${JSON.stringify(path)}, "x".repeat(200_000)) } catch (error) { console.log(error.message) }`,
    )
    expect(stdout.match(/cannot write .*config\.json: the file would be larger/g)).toHaveLength(2)
    expect(readFileSync(path, "utf8")).toBe("old")
    expect(readdirSync(folder)).toEqual(["config.json"])
  },
)

test("what a killed process left of a write is removed by the next; a living one's stays", () => {
  const folder = newFolder()
  const path = join(folder, "out.jsonl")
  const { pid } = spawnSync(process.execPath, ["-e", ""])
  const living = temporaryName(path)
  const dead = living.replace(`.${process.pid}-`, `.${pid}-`)
  writeFileSync(living, "")
  writeFileSync(dead, "")
  removeLeft(path)
  expect([existsSync(living), existsSync(dead)]).toEqual([true, false])
})

test("a name of 255 bytes has room for its temporary one", () => {
  const path = join(newFolder(), `${"é".repeat(120)}.jsonl`)
  replaceFileNow(path, "whole")
  expect(readFileSync(path, "utf8")).toBe("whole")
  expect(() => replaceFileNow(join(newFolder(), "n".repeat(256)), "")).toThrow(/name is too long/)
})
