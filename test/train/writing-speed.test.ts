import { mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, test } from "vitest"
import { checkpointSeconds } from "../../src/train/estimate.ts"
import type { RunPlan } from "../../src/train/plan.ts"

test("a place where nothing can be written is named as it was given", async () => {
  const file = join(mkdtempSync(join(tmpdir(), "dftune-place-")), "file")
  writeFileSync(file, "")
  const output_dir = join(file, "run")
  const plan = {
    order: { steps: 1 },
    config: { output_dir, save_steps: 0 },
    memory: { gradients: 1, moments: 2 },
  } as unknown as RunPlan
  const seconds = async (work: () => unknown) => {
    await work()
    return 1
  }
  await expect(checkpointSeconds(plan, seconds)).rejects.toThrow(
    `cannot write ${output_dir}: a part of the path is a file, not a folder`,
  )
})
