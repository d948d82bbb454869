import { spawn, spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { describe, expect, test } from "vitest"
import { PYTHON, WITH_PYTHON } from "./python.ts"

const HAS_PYTEST = PYTHON !== undefined && spawnSync(PYTHON, ["-c", "import pytest"]).status === 0
const WITH_PYTEST = PYTHON && !HAS_PYTEST ? `SKIPPED: ${PYTHON} has no pytest` : WITH_PYTHON

const HAS_PILLOW = PYTHON !== undefined && spawnSync(PYTHON, ["-c", "import PIL"]).status === 0
const WORKER = fileURLToPath(new URL("../../../worker", import.meta.url))

/** The several minutes each of these take are why they run only where Python has all it needs. */
const FILES = [
  ...["test_parts.py", "test_runs.py", "test_endings.py", "test_samples.py"],
  ...["test_adapters.py", "test_optimizers.py", "test_scores.py", "test_best_step.py"],
  ...["test_any_model.py", "test_any_runs.py"],
  ...(HAS_PILLOW ? ["test_vision.py"] : []),
]

/** Runs the worker's own tests; their report when they fail. */
async function pytest(file: string): Promise<{ code: number | null; report: string }> {
  const child = spawn(PYTHON!, ["-m", "pytest", "-q", "-x", `tests/${file}`], { cwd: WORKER })
  let report = ""
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      report += text
    })
  }
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve))
  return { code, report: report.slice(-6000) }
}

describe.skipIf(!HAS_PYTEST)(`the worker's own tests, ${WITH_PYTEST}`, () => {
  test.skipIf(!HAS_PILLOW)(
    HAS_PILLOW ? "pictures are read" : "test_vision.py (SKIPPED: no Pillow)",
    () => {
      expect(FILES).toContain("test_vision.py")
    },
  )

  test.each(FILES)("%s", { timeout: 1_200_000 }, async (file) => {
    const { code, report } = await pytest(file)
    expect(code, report).toBe(0)
  })
})
