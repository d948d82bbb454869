/** A run whose checkpoints are the bundled model with its final norm scaled by powers of two. */
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { DEMO_MODEL, writeRun } from "./serving.ts"

/** The exponent of every number of a bfloat16 tensor, plus `power`. */
function scaledNorm(path: string, power: number): void {
  const bytes = readFileSync(path)
  const head = Number(bytes.readBigUInt64LE(0))
  const header = JSON.parse(bytes.subarray(8, 8 + head).toString("utf8"))
  const [from, to] = header["model.norm.weight"].data_offsets.map((at: number) => 8 + head + at)
  for (let at = from; at < to; at += 2)
    bytes.writeUInt16LE(bytes.readUInt16LE(at) + 128 * power, at)
  writeFileSync(path, bytes)
}

export function writeCheckpoint(run: string, step: number, power: number): string {
  const folder = join(run, "checkpoints", `step-${String(step).padStart(6, "0")}`)
  cpSync(DEMO_MODEL, folder, { recursive: true })
  writeFileSync(join(folder, "trainer.json"), "{}")
  scaledNorm(join(folder, "model.safetensors"), power)
  return folder
}

/** A run of the bundled model over these rows, with its config as a run records it. */
export function writeTokenRun(
  dir: string,
  name: string,
  {
    rows,
    events,
    objective = "dft",
    evalRows,
  }: {
    readonly rows: readonly object[]
    readonly events: object[]
    readonly objective?: string | object
    readonly evalRows?: readonly object[]
  },
): string {
  const run = writeRun(dir, name, { events })
  mkdirSync(join(run, "rows"))
  const file = (named: string, all: readonly object[]) => {
    const path = join(run, "rows", named)
    writeFileSync(path, all.map((row) => `${JSON.stringify(row)}\n`).join(""))
    return path
  }
  const config = {
    model: DEMO_MODEL,
    objective,
    data: {
      train: [{ path: file("train.jsonl", rows) }],
      ...(evalRows ? { eval: [{ path: file("held.jsonl", evalRows) }] } : {}),
      max_length: 128,
    },
    output_dir: run,
  }
  writeFileSync(join(run, "config.json"), JSON.stringify({ config, versions: {} }))
  return run
}
