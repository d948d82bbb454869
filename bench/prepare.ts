/**
 * Preparation: characters a second and peak memory, each measurement in a process of its own.
 *
 *     npm run bench -- prepare [--rows 20000] [--characters 650] [--shape plain,chat]
 *                              [--workers 0,2] [--tokenizer FOLDER] [--template FILE]
 *     npm run bench -- prepare --million     a million rows, 2 GB, once in each shape
 *
 * The rows are made of GSM8K's and MATH's of ../shared/data/sft: several of them joined until a row
 * has its length, every number in them drawn anew, and a name of random syllables in each (so that
 * words keep coming that were never seen). One row in a thousand repeats an earlier one, letter by
 * letter: the lint must count exactly those. Characters are those of the texts, without the JSON
 * around them. Peak memory is the process's own (VmHWM), all threads together; it includes the
 * loader of TypeScript, which a built package does not have.
 */
import { fork } from "node:child_process"
import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import type { PrepareReport, PrepareTask } from "./setup/prepare-once.ts"
import { SHAPES, type Shape, sharedTexts, writeRows } from "./setup/training-rows.ts"

const shared = (path: string) =>
  fileURLToPath(new URL(`../../shared/data/${path}`, import.meta.url))

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      rows: { type: "string" },
      characters: { type: "string" },
      shape: { type: "string", default: SHAPES.join() },
      workers: { type: "string" },
      tokenizer: { type: "string", default: shared("tokenizers/qwen2.5") },
      template: { type: "string" },
      million: { type: "boolean", default: false },
    },
  })
  const texts = sharedTexts(shared("sft"))
  if (!existsSync(values.tokenizer) || texts.length === 0) {
    console.log("prepare: ../shared/data is not here; nothing measured")
    return
  }
  const rows = Number(values.rows ?? (values.million ? 1_000_000 : 20_000))
  const characters = Number(values.characters ?? (values.million ? 1_550 : 650))
  const folder = mkdtempSync(join(tmpdir(), "dftune-bench-"))
  try {
    for (const shape of values.shape.split(",") as Shape[]) {
      const path = join(folder, `${shape}.jsonl`)
      const file = await writeRows(path, { rows, characters, shape, texts })
      console.log(
        `${shape}: ${rows.toLocaleString("en-US")} rows, ${millions(file.characters)} M characters, ${millions(file.bytes)} MB, ${file.repeated} rows repeat another`,
      )
      for (const workers of (values.workers ?? (values.million ? "2" : "0,2")).split(",")) {
        const report = await measure({
          path,
          workers: Number(workers),
          tokenizer: values.tokenizer,
          template: values.template ?? null,
          cache: join(folder, "cache"),
        })
        console.log(`  ${workers} threads: ${summary(report, file.characters)}`)
        rmSync(join(folder, "cache"), { recursive: true })
      }
      rmSync(path)
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

const millions = (count: number) => (count / 1e6).toFixed(1)

function summary(report: PrepareReport, characters: number): string {
  const { rows, tokens, duplicates, seconds, cpuSeconds, peakBytes, reading } = report
  return [
    `${(characters / seconds / 1e6).toFixed(2)} M characters/s (${seconds.toFixed(1)} s)`,
    `${(characters / cpuSeconds / 1e6).toFixed(2)} M per CPU second`,
    `${(tokens / seconds / 1e6).toFixed(2)} M tokens/s`,
    `${rows} rows`,
    `${duplicates} duplicates found`,
    `peak ${millions(peakBytes)} MB`,
    `\n    then read as in training: opened in ${reading.openSeconds.toFixed(2)} s, an epoch's order in ${reading.orderSeconds.toFixed(2)} s, ` +
      `${Math.round(reading.rowsPerSecond)} rows/s in that order, peak ${millions(reading.peakBytes)} MB`,
  ].join(", ")
}

function measure(task: PrepareTask): Promise<PrepareReport> {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(new URL("./setup/prepare-once.ts", import.meta.url)), {
      env: { ...process.env, DFTUNE_BENCH: JSON.stringify(task) },
    })
    let report: PrepareReport | undefined
    child.on("message", (message) => {
      report = message as PrepareReport
    })
    child.on("exit", (code) => {
      if (report !== undefined && code === 0) resolve(report)
      else reject(new Error(`the measuring process ended with code ${code}`))
    })
  })
}
