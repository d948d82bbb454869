import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

/** The Python with torch and transformers, where there is one. */
export const PYTHON = process.env.DFTUNE_PYTHON ?? "/opt/torch-venv/bin/python"

/** A path beside the project's root. */
export const besideProject = (path: string) =>
  fileURLToPath(new URL(`../../../${path}`, import.meta.url))

/**
 * A randomly initialised model of Qwen2.5-0.5B's shape with its tokenizer, made once in the
 * temporary folder by ../shared/bench/make_model.py; undefined where Python or the script is absent.
 */
export function qwenModel(layers = 24): string | undefined {
  const folder = join(tmpdir(), "models", layers === 24 ? "qwen05" : `qwen05-${layers}-layers`)
  if (existsSync(join(folder, "model.safetensors"))) return folder
  const maker = besideProject("shared/bench/make_model.py")
  const tokenizer = besideProject("shared/data/tokenizers/qwen2.5")
  if (!existsSync(maker) || !existsSync(PYTHON)) return undefined
  const made = spawnSync(PYTHON, [maker, tokenizer, folder, `${layers}`], {
    stdio: ["ignore", "ignore", "inherit"],
  })
  return made.status === 0 ? folder : undefined
}
