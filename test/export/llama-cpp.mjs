/**
 * Asks the real llama.cpp, through node-llama-cpp's prebuilt binaries, what it makes of GGUF files.
 * Usage: node llama-cpp.mjs NODE_LLAMA_CPP REQUESTS.json, where the first is the path of that
 * package and the second a list of { gguf, lora?: string, texts?: string[], prompts?: number[][],
 * count }. Prints { release, answers: [{ architecture, bos, eos, texts: number[][], prompts:
 * number[][], logprobs: number[][] }] }.
 */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { pathToFileURL } from "node:url"

const [folder, requests] = process.argv.slice(2)
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(join(folder, "dist/index.js")).href)
const llama = await getLlama({
  build: "never",
  gpu: false,
  maxThreads: 1,
  logLevel: LlamaLogLevel.error,
})
const answers = []
for (const { gguf, lora, texts = [], prompts = [], count = 0 } of JSON.parse(
  readFileSync(requests, "utf8"),
)) {
  const model = await llama.loadModel({ modelPath: gguf, gpuLayers: 0 })
  const answer = {
    architecture: model.fileInfo.metadata.general.architecture,
    bos: model.tokens.bos,
    eos: model.tokens.eos,
    texts: texts.map((text) => [...model.tokenize(text, true)]),
    prompts: [],
    logprobs: [],
  }
  const context = await model.createContext({
    ...(lora ? { lora } : {}),
    contextSize: 256,
    threads: 1,
    // llama.cpp's own choices keep or compute keys and values in half precision.
    flashAttention: false,
    experimentalKvCacheKeyType: "F32",
    experimentalKvCacheValueType: "F32",
  })
  const sequence = context.getSequence()
  for (const prompt of prompts) {
    await sequence.clearHistory()
    const tokens = []
    const logprobs = []
    const options = { temperature: 0, yieldEogToken: true }
    const told = sequence.evaluateWithMetadata(prompt, { probabilities: true }, options)
    for await (const { token, probabilities } of told) {
      tokens.push(token)
      logprobs.push(Math.log(probabilities.get(token)))
      if (tokens.length === count) break
    }
    answer.prompts.push(tokens)
    answer.logprobs.push(logprobs)
  }
  await context.dispose()
  await model.dispose()
  answers.push(answer)
}
const release = llama.llamaCppRelease?.release ?? "unknown"
process.stdout.write(JSON.stringify({ release, answers }))
await llama.dispose()
