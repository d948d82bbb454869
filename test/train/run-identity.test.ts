import { createHash } from "node:crypto"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import { readState, writeCheckpointFolder } from "../../src/train/checkpoint.ts"
import { heldSettings, settingDifferences } from "../../src/train/run-identity.ts"
import { START } from "../../src/train/trainer.ts"
import { noIdentity } from "./no-identity.ts"

const folder = mkdtempSync(join(tmpdir(), "dftune-identity-"))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const settings = (more: object = {}) =>
  heldSettings(parseConfig({ model: "m", data: { train: ["rows.jsonl"] }, ...more }))

test("each setting that differs is named with both values", () => {
  const there = settings({ batch_size: 8, objective: "dft", adapter: { r: 4 } })
  const here = settings({ batch_size: 256, objective: { name: "focal", g: 3 }, adapter: { r: 16 } })
  const found = settingDifferences(there, here)
  expect(found).toContain("batch_size 8 there, 256 here")
  expect(found).toContain("adapter.r 4 there, 16 here")
  expect(found).toContain('objective.name "dft" there, "focal" here')
  expect(found).toContain("objective.g not set there, 3 here")
  expect(settingDifferences(there, there)).toEqual([])
})

test("where things lie, what is written when, and what it computes on may change", () => {
  const free = {
    output_dir: "elsewhere",
    save_steps: 1,
    eval_steps: 7,
    generate_samples: { prompts: 1 },
    engine: { name: "onnx", threads: 3 },
    recompute: "always",
    data: { train: ["moved/rows.jsonl"], eval: ["eval.jsonl"] },
  }
  expect(settingDifferences(settings(), settings(free))).toEqual([])
})

test("a setting that came later is at its default in an older run, one that is gone is named", () => {
  const { weight_decay: _, ...older } = settings()
  expect(settingDifferences(older, settings())).toEqual([])
  expect(settingDifferences(older, settings({ weight_decay: 0.5 }))).toEqual([
    "weight_decay 0.01 there, 0.5 here",
  ])
  const adapter = { type: "lora", r: 8, lora_alpha: 16, target_modules: "all-linear" }
  expect(settingDifferences({ ...settings(), adapter }, settings({ adapter: {} }))).toEqual([])
  expect(settingDifferences({ ...settings(), gone: null }, settings())).toEqual([])
  expect(settingDifferences({ ...settings(), gone: 3 }, settings())).toEqual([
    "gone 3 there, not set here",
  ])
})

test("every setting is held but those that are named as free", () => {
  const all = parseConfig({ model: "m", data: { train: ["rows.jsonl"] } })
  expect(heldSettings({ ...all, later: 1 })).toMatchObject({ later: 1, seed: 0 })
})

/** The state with something else in it, and the checksum made to fit. */
const signed = (other: object) => (text: string) => {
  const { sha256: _, ...state } = { ...JSON.parse(text), ...other }
  const sha256 = createHash("sha256").update(JSON.stringify(state)).digest("hex")
  return JSON.stringify({ ...state, sha256 })
}

const trainerJson = /trainer\.json: is damaged/
test.each([
  ["cut off", (text: string) => text.slice(0, 100), trainerJson],
  ["empty", () => "", trainerJson],
  ["another step", (text: string) => text.replace('"step": 6', '"step": 7'), trainerJson],
  ["no step", (text: string) => text.replace('"step": 6', '"step": null'), trainerJson],
  ["no progress", (text: string) => text.replace('"progress"', '"process"'), trainerJson],
  ["no files", (text: string) => text.replace('"files"', '"filed"'), trainerJson],
  ["a list", () => "[]", trainerJson],
  ["another version", (text: string) => text.replace('"version": 2', '"version": 9'), /version 9/],
  ["no identity, and a checksum that fits", signed({ identity: null }), trainerJson],
  ["no settings", signed({ identity: { ...noIdentity, settings: 3 } }), trainerJson],
  ["a file of nothing", signed({ files: { "trainer.safetensors": null } }), trainerJson],
  [
    "the other engine's",
    () => '{"version":1,"engine":"torch","step":6}',
    /step-000006: is a checkpoint of engine: torch; go on with engine=torch$/,
  ],
  ["no checkpoint of ours", () => '{"version":1,"files":{},"progress":null}', trainerJson],
])(
  "a trainer.json that cannot be gone on with, %s: refused with what to do",
  async (_, change, reason) => {
    const path = await writeCheckpointFolder(
      folder,
      {
        progress: { ...START, step: 6 },
        identity: noIdentity,
        writeModel: async () => {},
        tensors: [],
      },
      { limit: null },
    )
    const file = join(path, "trainer.json")
    expect((await readState(path)).progress.step).toBe(6)
    writeFileSync(file, change(readFileSync(file, "utf8")))
    await expect(readState(path)).rejects.toThrow(reason)
  },
)
