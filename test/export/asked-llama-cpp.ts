/**
 * The real llama.cpp, through node-llama-cpp's prebuilt binaries, asked what it makes of our files.
 */
import { execFile } from "node:child_process"
import { existsSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { expect } from "vitest"
import { type ExportOptions, exportModel } from "../../src/export/index.ts"
import { type Generator, openGenerator } from "../../src/generate/index.ts"
import { newFolder } from "./models.ts"

/** A folder where `npm install node-llama-cpp @node-llama-cpp/<platform>` was run. */
const folder = process.env.DFTUNE_LLAMA_CPP
const library = folder === undefined ? undefined : join(folder, "node_modules/node-llama-cpp")
export const present = library !== undefined && existsSync(library)
export const found = present
  ? library
  : "absent: DFTUNE_LLAMA_CPP names no folder with node-llama-cpp; docs/export.md says how to make one"
const SCRIPT = fileURLToPath(new URL("./llama-cpp.mjs", import.meta.url))

interface Request {
  readonly gguf: string
  /** An adapter's file. */
  readonly lora?: string
  readonly texts?: readonly string[]
  readonly prompts?: readonly (readonly number[])[]
  readonly count?: number
}
interface Answer {
  readonly architecture: string
  readonly texts: readonly (readonly number[])[]
  readonly prompts: readonly (readonly number[])[]
  /** Of the tokens of `prompts`, by all logits. */
  readonly logprobs: readonly (readonly number[])[]
}

export async function ask(request: Request): Promise<Answer> {
  const path = join(newFolder(), "requests.json")
  writeFileSync(path, JSON.stringify([request]))
  const { stdout } = await promisify(execFile)(process.execPath, [SCRIPT, library!, path])
  return (JSON.parse(stdout) as { answers: Answer[] }).answers[0]!
}

export async function gguf(model: string, options: Partial<ExportOptions> = {}): Promise<string> {
  const out = join(newFolder(), "out")
  const { files } = await exportModel(model, { to: "gguf", out, ...options })
  return join(out, files[0]!.file)
}

interface Continued {
  readonly tokens: readonly (readonly number[])[]
  readonly logprobs: readonly (readonly number[])[]
}

async function greedy(
  generator: Generator,
  prompts: readonly (readonly number[])[],
  count: number,
): Promise<Continued> {
  const requests = prompts.map((tokenIds) => {
    return { prompt: { tokenIds }, n: 1, temperature: 0, maxNewTokens: count, seed: 0 }
  })
  const tokens: (readonly number[])[] = []
  const logprobs: (readonly number[])[] = []
  for await (const sample of generator.sample(requests)) {
    tokens[sample.requestIndex] = sample.tokenIds
    logprobs[sample.requestIndex] = sample.logprobs
  }
  return { tokens, logprobs }
}

/**
 * Greedy continuations by llama.cpp and by us: the same tokens, as likely, up to where ours end.
 * @returns llama.cpp's name of the architecture
 */
export async function expectSameContinuations(
  model: string,
  prompts: readonly (readonly number[])[],
  count: number,
  options: Partial<ExportOptions> = {},
): Promise<string> {
  const generator = await openGenerator(model, { threads: 1 })
  const ours = await greedy(generator, prompts, count)
  await generator.close()
  const theirs = await ask({ gguf: await gguf(model, options), prompts, count })
  for (const [i, tokens] of ours.tokens.entries()) {
    expect(theirs.prompts[i]!.slice(0, tokens.length)).toEqual([...tokens])
    expectClose(theirs.logprobs[i]!, ours.logprobs[i]!)
  }
  return theirs.architecture
}

export function expectClose(theirs: readonly number[], ours: readonly number[]): void {
  for (const [i, logprob] of ours.entries()) {
    expect(Math.abs(theirs[i]! - logprob), `token ${i}`).toBeLessThan(1e-4)
  }
}

/** The same of an adapter that llama.cpp adds to its base. */
export async function expectSameApart(
  adapter: string,
  base: string,
  prompts: readonly (readonly number[])[],
  count: number,
): Promise<void> {
  const generator = await openGenerator(adapter, { threads: 1 })
  const ours = await greedy(generator, prompts, count)
  await generator.close()
  const lora = await gguf(adapter, { to: "gguf-adapter" })
  const theirs = await ask({ gguf: await gguf(base), lora, prompts, count })
  for (const [i, tokens] of ours.tokens.entries()) {
    expect(theirs.prompts[i]!.slice(0, tokens.length)).toEqual([...tokens])
    expectClose(theirs.logprobs[i]!, ours.logprobs[i]!)
  }
}
