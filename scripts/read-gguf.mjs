/**
 * Asks llama.cpp, through node-llama-cpp's prebuilt binaries, one question of a GGUF file: rendered
 * by the chat template that the file has, or as the beginning of a text. Greedy. Usage: node
 * read-gguf.mjs FILE.gguf QUESTION, where NODE_LLAMA_CPP names the folder in which node-llama-cpp
 * is installed.
 */
import { createRequire } from "node:module"
import { join } from "node:path"
import { pathToFileURL } from "node:url"

const MOST = 48
const [file, question] = process.argv.slice(2)
const modules = join(process.env.NODE_LLAMA_CPP, "node_modules")
const load = (path) => import(pathToFileURL(path).href)
const { getLlama, LlamaLogLevel } = await load(join(modules, "node-llama-cpp/dist/index.js"))
const jinja = createRequire(join(modules, "node-llama-cpp/package.json")).resolve(
  "@huggingface/jinja",
)
const { Template } = await load(jinja)

const silent = LlamaLogLevel.error
const llama = await getLlama({ build: "never", gpu: false, maxThreads: 1, logLevel: silent })
const model = await llama.loadModel({ modelPath: file, gpuLayers: 0 })
const { general, tokenizer } = model.fileInfo.metadata
const messages = [{ role: "user", content: question }]
const text = tokenizer.chat_template
  ? new Template(tokenizer.chat_template).render({ messages, add_generation_prompt: true })
  : `${question}\n`
const begins = model.tokens.shouldPrependBosToken && model.tokens.bos !== null
const prompt = [...(begins ? [model.tokens.bos] : []), ...model.tokenize(text, true)]

const context = await model.createContext({ contextSize: 256, threads: 1 })
const answer = []
for await (const token of context.getSequence().evaluate(prompt, { temperature: 0 })) {
  answer.push(token)
  if (answer.length === MOST) break
}
const release = llama.llamaCppRelease?.release ?? "unknown"
console.log(`llama.cpp ${release} reads ${general.architecture}`)
console.log(model.detokenize(answer))
await llama.dispose()
