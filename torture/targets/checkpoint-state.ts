/** `trainer.json` as it is written today: with a checksum, and with the checksum made to fit. */
import { createHash } from "node:crypto"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { isObject } from "../../src/formats/json.ts"
import { readCheckpoint, readState, writeCheckpointFolder } from "../../src/train/checkpoint.ts"
import { differences, type Identity } from "../../src/train/run-identity.ts"
import { START } from "../../src/train/trainer.ts"
import { mutatedJson, mutatedJsonFile } from "../mutate.ts"
import type { Target } from "./target.ts"

const IDENTITY: Identity = {
  settings: { model: "m", batch_size: 8, objective: { name: "dft" }, data: { packing: true } },
  micro_batch_tokens: 256,
  weights: "a",
  model: "m",
  rows: "b",
}

/** The order in which the checksum takes them. */
const signed = ({ version, progress, identity, files }: Record<string, unknown>) => {
  const state = { version, progress, identity, files }
  const sha256 = createHash("sha256").update(JSON.stringify(state)).digest("hex")
  return { ...state, sha256 }
}

export function checkpointState(work: string): Target {
  const made = writeCheckpointFolder(
    join(work, "checkpoints"),
    {
      progress: { ...START, step: 6 },
      identity: IDENTITY,
      writeModel: async (folder) => writeFileSync(join(folder, "config.json"), "{}"),
      tensors: [{ name: "w", dtype: "F32", shape: [2], data: new Uint8Array(8) }],
    },
    { limit: null },
  )
  let right: Buffer | undefined
  return async (draw) => {
    const path = await made
    const file = join(path, "trainer.json")
    right ??= readFileSync(file)
    const value: unknown = JSON.parse(right.toString("utf8"))
    const other = mutatedJson(value, draw)
    const bytes =
      draw() < 0.5 || !isObject(other)
        ? mutatedJsonFile(right, value, draw)
        : JSON.stringify(signed(other))
    writeFileSync(file, bytes)
    const state = await readState(path)
    if ("identity" in state.run) differences(state.run.identity, IDENTITY)
    await readCheckpoint(state)
  }
}
