/**
 * Reads another trainer's settings as plain keys and values: YAML, JSON, Python keyword arguments,
 * or a command line. Nothing is run.
 */
import { InputError } from "../errors.ts"
import { readPython } from "./python-source.ts"
import { readCommand } from "./shell-source.ts"
import { yamlRecord } from "./yaml-source.ts"

export interface Source {
  readonly settings: Readonly<Record<string, unknown>>
  /**
   * Program or classes that the settings were given to, e.g. `swift`, `SFTConfig`: helps to tell
   * peers apart.
   */
  readonly names: readonly string[]
  /** Processes it was started with, where the command line says. */
  readonly devices?: number
  /** Keys with expressions as values. Only running the program could evaluate them. */
  readonly expressions: Readonly<Record<string, string>>
  /** Of a script: commands with options in it; the first that trains is read. */
  readonly commands?: number
}

const MAX_BYTES = 1 << 20
const PYTHON =
  /\b((?:SFT|DPO|GRPO|KTO|ORPO|CPO|RLOO|PPO|Reward)(?:Config|Trainer)|TrainingArguments|FastLanguageModel\.from_pretrained)\s*\(/
const PROGRAM =
  /^\s*(#!|(?:[A-Z_]+=\S+\s+)*(torchrun|swift|megatron|trl|accelerate|llamafactory-cli|axolotl|python3?|mlx_lm\.lora|deepspeed)\s)/m

export function readSource(text: string, file: string): Source {
  if (text.length > MAX_BYTES) {
    throw new InputError(`${file}: expected a config of at most 1 MB, got ${text.length} bytes`)
  }
  if (/\.(py|ipynb)$/i.test(file) || PYTHON.test(text)) {
    return readPython(/\.ipynb$/i.test(file) ? notebookCode(text, file) : text, file)
  }
  if (/\.(sh|bash|txt)$/i.test(file) || PROGRAM.test(text)) {
    const { devices, ...command } = readCommand(text, file)
    return { ...command, ...(devices === undefined ? {} : { devices }) }
  }
  return { settings: yamlRecord(text, file), names: [], expressions: {} }
}

/** The code cells of a Jupyter notebook. */
function notebookCode(text: string, file: string): string {
  const { cells } = yamlRecord(text, file) as { cells?: unknown }
  if (!Array.isArray(cells)) throw new InputError(`${file}: expected a notebook with "cells"`)
  return cells
    .filter((cell) => cell?.cell_type === "code")
    .map(({ source }) => (Array.isArray(source) ? source.join("") : String(source)))
    .join("\n")
}
