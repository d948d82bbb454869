import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { managedPython } from "../../../src/engines/torch/index.ts"

const candidates = [process.env.DFTUNE_PYTHON, managedPython(), "/opt/torch-venv/bin/python"]
const usable = (python: string) =>
  existsSync(python) &&
  spawnSync(python, ["-c", "import torch, transformers, peft, safetensors"]).status === 0

/** A Python that has what the worker needs, where there is one. */
export const PYTHON = candidates.find((path): path is string => path !== undefined && usable(path))

/** For test names: why the tests of the worker are left out here. */
export const WITH_PYTHON = PYTHON
  ? "with the worker"
  : "with the worker (SKIPPED: no Python with torch, transformers and peft; set DFTUNE_PYTHON)"
