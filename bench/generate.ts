/**
 * Generation beside Transformers' `generate`: tokens a second, prompts included.
 *
 *     npm run bench -- generate [--model FOLDER] [--repeats 3] [--sequences 1,16] [--prompt 128] [--new 64]
 *                               [--group 8 --temperature 1] [--dtype fp32]
 *
 * As rollouts sample: --group samples of each prompt, drawn at --temperature (0 is greedy).
 * Without --model a folder of Qwen2.5-0.5B's shape is made once in the temporary folder
 * (../shared/bench/make_model.py). The measurements alternate; medians count. float32, or --dtype bf16.
 * Transformers runs when Python does (DFTUNE_PYTHON, or /opt/torch-venv/bin/python).
 */
import { type ChildProcess, spawn } from "node:child_process"
import { existsSync } from "node:fs"
import { availableParallelism } from "node:os"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import {
  LocalSource,
  type OpenModel,
  openModel,
  type SampleRequest,
} from "../src/generate/index.ts"
import { PYTHON, qwenModel } from "./setup/qwen-model.ts"

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

interface Case {
  readonly name: string
  readonly sequences: number
  /** Seconds of one run. */
  readonly measure: () => Promise<number>
}

interface Sizes {
  readonly promptTokens: number
  readonly newTokens: number
  readonly threads: number
  /** Samples of each prompt. */
  readonly group: number
  readonly temperature: number
}

/** The same ids as bench/generate.py. */
const prompt = (index: number, { promptTokens }: Sizes) =>
  Array.from({ length: promptTokens }, (_, t) => 1000 + ((index * 131 + t * 7) % 40000))

const NAMES = { fp32: "float32", bf16: "bfloat16" } as const

function ours(
  open: OpenModel,
  { sequences, sizes, dtype }: { sequences: number; sizes: Sizes; dtype: keyof typeof NAMES },
): Case {
  const encode = (text: string) => prompt(Number(text), sizes)
  const tokenizer = { ...open.tokenizer, addsBos: false, encode }
  const source = new LocalSource({ ...open, tokenizer, stopTokenIds: new Set() })
  const { group: n, temperature, newTokens: maxNewTokens } = sizes
  const requests = Array.from({ length: sequences / n }, (_, i): SampleRequest => {
    const seed = i * 2 ** 32
    const rollout = { number: 0, attempt: 0, first: 0 }
    return { prompt: `${i}`, n, temperature, maxNewTokens, seed, ...(n > 1 ? { rollout } : {}) }
  })
  return {
    name: `dftune ${NAMES[dtype]}`,
    sequences,
    async measure() {
      const begun = performance.now()
      let tokens = 0
      for await (const { tokenIds } of source.sample(requests)) tokens += tokenIds.length
      if (tokens !== sequences * sizes.newTokens) throw new Error(`${tokens} tokens`)
      return (performance.now() - begun) / 1000
    },
  }
}

/** Transformers in a process of its own, asked line by line; undefined where it does not run. */
async function transformers(folder: string, sizes: Sizes) {
  const { promptTokens, newTokens, threads, group, temperature } = sizes
  if (!existsSync(PYTHON)) return undefined
  const args = [
    here("generate.py"),
    folder,
    threads,
    promptTokens,
    newTokens,
    group,
    temperature,
  ].map(String)
  const child: ChildProcess = spawn(PYTHON, args, { stdio: ["pipe", "pipe", "inherit"] })
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]()
  if ((await lines.next()).value !== "ready") return undefined
  const of = (dtype: string, sequences: number): Case => ({
    name: `Transformers ${dtype}`,
    sequences,
    async measure() {
      child.stdin!.write(`${dtype} ${sequences}\n`)
      return Number((await lines.next()).value)
    },
  })
  return { of, end: () => child.stdin!.end() }
}

const median = (values: readonly number[]) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      model: { type: "string" },
      repeats: { type: "string", default: "3" },
      sequences: { type: "string", default: "1,16" },
      prompt: { type: "string", default: "128" },
      new: { type: "string", default: "64" },
      threads: { type: "string", default: `${availableParallelism()}` },
      group: { type: "string", default: "1" },
      temperature: { type: "string", default: "0" },
      dtype: { type: "string", default: "fp32" },
    },
  })
  const folder = values.model ?? qwenModel()
  if (folder === undefined) {
    console.log("generate: no model (--model FOLDER), and none can be made here; nothing measured")
    return
  }
  const threads = Number(values.threads)
  const dtype = values.dtype === "bf16" ? "bf16" : "fp32"
  const sizes = {
    ...{ promptTokens: Number(values.prompt), newTokens: Number(values.new), threads },
    ...{ group: Number(values.group), temperature: Number(values.temperature) },
  }
  const open = await openModel(folder, { threads, dtype })
  const python = await transformers(folder, sizes)
  if (!python) console.log(`Transformers: absent (${PYTHON}); its rows are left out`)
  const rows = []
  for (const sequences of values.sequences.split(",").map(Number)) {
    const cases = [
      ours(open, { sequences, sizes, dtype }),
      ...["float32", "bfloat16"].flatMap((dtype) => python?.of(dtype, sequences) ?? []),
    ]
    const seconds = cases.map((): number[] => [])
    for (const { measure } of cases) await measure() // compiles and loads
    for (let repeat = 0; repeat < Number(values.repeats); repeat++) {
      for (const [i, { measure }] of cases.entries()) seconds[i]!.push(await measure())
    }
    for (const [i, { name }] of cases.entries()) {
      const middle = median(seconds[i]!)
      const tokensPerSecond = (sequences * sizes.newTokens) / middle
      rows.push({ name, sequences, seconds: middle, tokens_per_second: tokensPerSecond })
      const each = seconds[i]!.map((s) => s.toFixed(2)).join(" ")
      console.log(
        `${String(sequences).padStart(3)} sequences  ${name.padEnd(30)} ` +
          `${tokensPerSecond.toFixed(1).padStart(7)} tokens/s  (${each} s)`,
      )
    }
  }
  python?.end()
  await open.release()
  console.log(JSON.stringify({ bench: "generate", model: folder, dtype, ...sizes, rows }))
}
