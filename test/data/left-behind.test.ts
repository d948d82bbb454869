import { spawnSync } from "node:child_process"
import { mkdirSync, readdirSync, utimesSync, writeFileSync } from "node:fs"
import { basename, join } from "node:path"
import { expect, test } from "vitest"
import { prepareData } from "../../src/data/prepare.ts"
import { temporaryName } from "../../src/formats/atomic.ts"
import { newFolder, rowFile, tinyModel } from "./tiny-model.ts"

const DAY_MS = 24 * 3600 * 1000
const { pid: dead } = spawnSync(process.execPath, ["--version"])
const mine = basename(temporaryName("/cache/key"))
const host = /-([0-9a-f]{6})\./.exec(mine)![1]!

test.each([
  ["of this process", mine, 0, true],
  ["of a dead process", `.key.${dead}-${host}.0a1b2c3d.tmp`, 0, false],
  ["of that process number elsewhere", `.key.${dead}-${other(host)}.0a1b2c3d.tmp`, 0, true],
  ["a day old, from elsewhere", `.key.${dead}-${other(host)}.0a1b2c3d.tmp`, DAY_MS + 5000, false],
  ["of no host, new", `key.${dead}-0a1b2c3d.tmp`, 0, true],
  ["of no host, a day old", `key.${dead}-0a1b2c3d.tmp`, DAY_MS + 5000, false],
])(
  "a folder of preparation %s: the next start knows whether it goes",
  async (_, name, age, stays) => {
    const cache = newFolder()
    const left = join(cache, name)
    mkdirSync(left)
    writeFileSync(join(left, "shard-00000.safetensors"), "half of it")
    const then = new Date(Date.now() - age)
    utimesSync(left, then, then)
    const sources = [{ path: rowFile([{ prompt: "a", completion: "b" }]), weight: 1 }]
    const prepare = () => prepareData({ sources, tokenizer: tinyModel(), cache, workers: 0 })
    await prepare()
    expect(readdirSync(cache).includes(name)).toBe(stays)
  },
)

test("also where the rows are in the cache already", async () => {
  const cache = newFolder()
  const options = {
    sources: [{ path: rowFile([{ prompt: "a", completion: "b" }]), weight: 1 }],
    tokenizer: tinyModel(),
    cache,
    workers: 0,
  }
  await prepareData(options)
  const name = `.key.${dead}-${host}.0a1b2c3d.tmp`
  mkdirSync(join(cache, name))
  expect((await prepareData(options)).fromCache).toBe(true)
  expect(readdirSync(cache)).not.toContain(name)
})

function other(tag: string): string {
  return tag === "000000" ? "111111" : "000000"
}
