import { join } from "node:path"
import { readTextFile, writeFileAtomic } from "../formats/index.ts"
import { readModelConfig } from "../models/files/index.ts"
import { loadChatTemplate, loadTokenizer, stopTokenIds } from "../text/index.ts"
import { type GgufOptions, writeGgufFile } from "./gguf.ts"
import { goTemplate, modelfile, turnsOf } from "./modelfile.ts"
import type { ExportSource, Written } from "./source.ts"

/** A longer context is memory that most machines do not have; a user can raise it. */
const MAX_CONTEXT = 8192

/** A GGUF file and the Modelfile that names it. */
export async function writeOllama(
  source: ExportSource,
  stage: string,
  options: GgufOptions,
): Promise<Written> {
  const { file, ...written } = await writeGgufFile(source, stage, options)
  const folder = source.base ?? source.folder
  const tokenizer = await loadTokenizer(source.textFolder)
  const template = await loadChatTemplate(source.textFolder)
  const turns = template === null ? undefined : turnsOf(template)
  const bos = tokenizer.addsBos ? tokenizer.tokenText(tokenizer.bosTokenId!) : null
  const stops = await stopTokenIds(folder, tokenizer)
  const { shape } = await readModelConfig(folder)
  const text = modelfile({
    file,
    // Without a chat template a model goes on with what it is given.
    template:
      template === null ? "{{ .Prompt }}" : turns === undefined ? null : goTemplate(turns, { bos }),
    stops: [...stops].map((id) => tokenizer.tokenText(id)),
    contextLength: Math.min(shape.maxPositionEmbeddings, MAX_CONTEXT),
  })
  const path = join(stage, "Modelfile")
  await writeFileAtomic(path, text)
  if ((await readTextFile(path)) !== text)
    throw new Error(`${path}: reads back otherwise than written`)
  const notes = [
    ...(template !== null && !text.includes("\nTEMPLATE ")
      ? [
          "the chat template does more than Ollama's templates can say: the Modelfile has none, and Ollama takes the one it finds most alike",
        ]
      : []),
    ...(turns !== undefined && turns.system === null
      ? ["the chat template takes no system message; Ollama will leave out one that it is given"]
      : []),
  ]
  return { ...written, notes: [...written.notes, ...notes] }
}
