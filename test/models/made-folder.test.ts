import { spawnSync } from "node:child_process"
import {
  appendFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test, vi } from "vitest"
import { addedTokensOf, ggufFileOf } from "../../src/models/files/index.ts"

const root = mkdtempSync(join(tmpdir(), "dftune-made-"))
const before = process.env.DFTUNE_CACHE
beforeAll(() => {
  process.env.DFTUNE_CACHE = root
})
afterAll(() => {
  if (before === undefined) delete process.env.DFTUNE_CACHE
  else process.env.DFTUNE_CACHE = before
  rmSync(root, { recursive: true, force: true })
})

/** As a process that is just starting. */
async function made(key: string) {
  vi.resetModules()
  const { madeFolder } = await import("../../src/models/files/made-folder.ts")
  const told: string[] = []
  let times = 0
  const make = async (folder: string) => {
    times++
    writeFileSync(join(folder, "tokenizer.json"), "{}")
    writeFileSync(join(folder, "config.json"), '{"a":1}')
    return { file: "m.gguf" }
  }
  const once = () =>
    madeFolder({
      ...{ under: "gguf", pointer: "gguf.json", key, make },
      onNotice: (line) => told.push(line),
    })
  const folder = await once()
  await once()
  const config = readFileSync(join(folder, "config.json"), "utf8")
  return { folder, told, times, config }
}

const WHOLE = '{"a":1}'

test.each<[string, (folder: string) => void, RegExp]>([
  [
    "a byte is another",
    (f) => writeFileSync(join(f, "config.json"), '{"a":2}'),
    /config\.json is not/,
  ],
  ["a file is cut", (f) => truncateSync(join(f, "config.json"), 3), /config\.json is not/],
  ["a file is gone", (f) => rmSync(join(f, "config.json")), /config\.json is gone/],
  [
    "a file more",
    (f) => writeFileSync(join(f, "chat_template.jinja"), "x"),
    /jinja is not what was/,
  ],
  ["half a pointer", (f) => truncateSync(join(f, "gguf.json"), 9), /gguf\.json is not/],
  [
    "a pointer of before",
    (f) => writeFileSync(join(f, "gguf.json"), '{"file":"m"}'),
    /gguf\.json is not/,
  ],
  ["a list", (f) => writeFileSync(join(f, "gguf.json"), "[]"), /gguf\.json is not/],
  [
    "a device",
    (f) => spawnSync("ln", ["-sf", "/dev/zero", join(f, "config.json")]),
    /gguf\.json is not/,
  ],
])(
  "a folder of the cache in which %s is made anew, and that is said",
  async (name, damage, why) => {
    const first = await made(name)
    expect(first).toMatchObject({ told: [], times: 1 })
    damage(first.folder)
    const second = await made(name)
    expect(second).toMatchObject({ folder: first.folder, times: 1, config: WHOLE })
    expect(second.told).toEqual([expect.stringMatching(why)])
    expect(await made(name)).toMatchObject({ told: [], times: 0, config: WHOLE })
  },
)

test("only the cache's own folders send to other places", async () => {
  const folder = mkdtempSync(join(root, "model-"))
  const secret = join(root, "secret.gguf")
  appendFileSync(secret, "GGUF")
  writeFileSync(join(folder, "gguf.json"), JSON.stringify({ file: secret }))
  expect(() => ggufFileOf(folder)).toThrow(/gguf\.json: sends to another place/)
  rmSync(join(folder, "gguf.json"))
  expect(ggufFileOf(folder)).toBeUndefined()
  writeFileSync(join(folder, "added-tokens.json"), JSON.stringify({ base: root, ids: [1] }))
  expect(() => addedTokensOf(folder)).toThrow(/added-tokens\.json: sends to another place/)
})
