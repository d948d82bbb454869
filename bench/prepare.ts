/**
 * Preparation: characters a second and peak memory.
 *
 *     npm run bench -- prepare [--rows 20000] [--workers 0,1,2] [--tokenizer FOLDER] [--chat]
 *
 * The rows are those of ../shared/data/sft, over and over with a running number (so that no two are
 * alike), written to a temporary file first. `--rows 1000000 --long` makes about 2 GB.
 */
import { createWriteStream, existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { prepareData } from "../src/data/index.ts"

const shared = (path: string) =>
  fileURLToPath(new URL(`../../shared/data/${path}`, import.meta.url))

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      rows: { type: "string", default: "20000" },
      workers: { type: "string", default: "0,1,2" },
      tokenizer: { type: "string", default: shared("tokenizers/qwen2.5") },
      chat: { type: "boolean", default: false },
      long: { type: "boolean", default: false },
    },
  })
  const texts = pairs()
  if (!existsSync(values.tokenizer) || texts.length === 0) {
    console.log("prepare: ../shared/data is not here; nothing measured")
    return
  }
  const folder = mkdtempSync(join(tmpdir(), "dftune-bench-"))
  try {
    const path = join(folder, "rows.jsonl")
    const characters = await writeRows(path, Number(values.rows), texts, values)
    console.log(
      `${values.rows} rows, ${(characters / 1e6).toFixed(1)} M characters, ${(statSync(path).size / 1e6).toFixed(0)} MB`,
    )
    for (const workers of values.workers.split(",").map(Number)) {
      const cache = join(folder, `cache-${workers}`)
      let peak = 0
      const watch = setInterval(() => {
        peak = Math.max(peak, process.memoryUsage.rss())
      }, 50)
      const start = performance.now()
      const cpu = process.cpuUsage()
      const { manifest } = await prepareData({
        sources: [{ path, weight: 1 }],
        tokenizer: values.tokenizer,
        cache,
        workers,
        maxLength: 2048,
      })
      const seconds = (performance.now() - start) / 1000
      const { user, system } = process.cpuUsage(cpu)
      clearInterval(watch)
      rmSync(cache, { recursive: true })
      console.log(
        `workers ${workers}: ${seconds.toFixed(1)} s, ${(characters / seconds / 1e6).toFixed(2)} M characters/s, ` +
          `${(manifest.tokens / seconds / 1e6).toFixed(2)} M tokens/s, peak ${(peak / 1e6).toFixed(0)} MB, ${(characters / (user + system)).toFixed(2)} M characters per CPU second`,
      )
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

type Pair = readonly [prompt: string, completion: string]

function pairs(): Pair[] {
  return ["sft/gsm8k_train/train.jsonl", "sft/math_train/train.jsonl"].flatMap((file) => {
    if (!existsSync(shared(file))) return []
    const lines = readFileSync(shared(file), "utf8").trim().split("\n")
    return lines.map((line): Pair => {
      const row = JSON.parse(line) as Record<string, string>
      return [row.question ?? row.problem!, row.answer ?? row.solution!]
    })
  })
}

/** @returns characters of text, without the JSON around it */
async function writeRows(
  path: string,
  rows: number,
  texts: readonly Pair[],
  { chat, long }: { readonly chat: boolean; readonly long: boolean },
): Promise<number> {
  const file = createWriteStream(path)
  let characters = 0
  for (let i = 0; i < rows; i++) {
    const pick = (k: number) => texts[(i * 7919 + k) % texts.length]!
    const [question, answer] = pick(0)
    const prompt = `${i}. ${question}`
    const completion = long ? [0, 1, 2].map((k) => pick(k)[1]).join("\n") : answer
    characters += prompt.length + completion.length
    const messages = [
      { role: "user", content: prompt },
      { role: "assistant", content: completion },
    ]
    const row = `${JSON.stringify(chat ? { messages } : { prompt, completion })}\n`
    if (!file.write(row)) await new Promise<void>((done) => file.once("drain", done))
  }
  await new Promise<void>((done) => file.end(done))
  return characters
}
