import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { writeError } from "../../src/formats/atomic.ts"
import { checkpointFolders, writeCheckpointFolder } from "../../src/train/checkpoint.ts"
import { START } from "../../src/train/trainer.ts"
import { noIdentity } from "./no-identity.ts"

const folder = mkdtempSync(join(tmpdir(), "dftune-checkpoint-"))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const content = (step: number, writeModel: () => Promise<void> = async () => {}) => ({
  progress: { ...START, step },
  identity: noIdentity,
  writeModel,
  tensors: [],
})
const noSpace = Object.assign(new Error("no space left"), { code: "ENOSPC" })

test.each([
  ["the file system says so", noSpace],
  ["a writer of files says so", writeError(noSpace, "model.safetensors")],
])(
  "a full disk, where %s: the checkpoints before stay, nothing half written does",
  async (_, error) => {
    await writeCheckpointFolder(folder, content(2), { limit: 1 })
    const failing = content(4, () => Promise.reject(error))
    await expect(writeCheckpointFolder(folder, failing, { limit: 1 })).rejects.toThrow(
      /step-000004: the disk is full; earlier checkpoints are whole.*--resume/,
    )
    expect(await checkpointFolders(folder)).toEqual([join(folder, "step-000002")])
    expect(readdirSync(folder)).toEqual(["step-000002"])
  },
)
