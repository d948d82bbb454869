import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll } from "vitest"
import { saveModel } from "../../src/models/files/index.ts"
import {
  decoderParameters,
  elementCount,
  modelConfig,
  type TensorSource,
} from "../../src/models/index.ts"
import { randomStream } from "../../src/random.ts"
import { MODELS } from "../models/golden-logits.ts"

export const DATA = fileURLToPath(new URL("../../../shared/data/", import.meta.url))
export const STORIES = `${DATA}weights/stories260K/hf`
export const hasData = existsSync(STORIES)
if (!hasData) console.warn(`absent, so not tested: the tokenizers and the trained model of ${DATA}`)

const made: string[] = []
afterAll(() => {
  for (const folder of made) rmSync(folder, { recursive: true, force: true })
})

/** A new empty folder, removed when the tests of the file are done. */
export function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "dftune-export-"))
  made.push(folder)
  return folder
}

const CHATML = `{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}`
const LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

interface LetterTokenizer {
  /** Tokens in all. */
  readonly size?: number
  /** Keys of tokenizer.json and tokenizer_config.json in place of the usual. */
  readonly tokenizer?: object
  readonly config?: object
}

/** A tokenizer of one token a character, of GPT-2's kind; `</s>` (id 2) ends a text. */
export function writeLetterTokenizer(
  folder: string,
  { size = 64, tokenizer = {}, config = {} }: LetterTokenizer = {},
): void {
  const special = ["<unk>", "<s>", "</s>"].map((content, id) => {
    return {
      id,
      content,
      special: true,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
    }
  })
  const pieces = [...LETTERS].slice(0, size - 3).map((letter, i) => [letter, i + 3])
  const json = {
    version: "1.0",
    added_tokens: special,
    normalizer: null,
    pre_tokenizer: {
      type: "ByteLevel",
      add_prefix_space: false,
      trim_offsets: true,
      use_regex: true,
    },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    model: { type: "BPE", unk_token: null, vocab: Object.fromEntries(pieces), merges: [] },
    ...tokenizer,
  }
  const settings = { bos_token: "<s>", eos_token: "</s>", chat_template: CHATML, ...config }
  writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(json))
  writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify(settings))
}

/** A golden model with a tokenizer; configs without weights take those of `llama`. */
export function goldenModel(name: string, tokenizer: LetterTokenizer = {}): string {
  const folder = join(newFolder(), name)
  mkdirSync(folder)
  const config = readFileSync(`${MODELS}${name}/config.json`, "utf8")
  writeFileSync(join(folder, "config.json"), config)
  const own = `${MODELS}${name}/model.safetensors`
  const weights = existsSync(own) ? own : `${MODELS}llama/model.safetensors`
  cpSync(weights, join(folder, "model.safetensors"))
  const { vocab_size: size } = JSON.parse(config) as { vocab_size: number }
  writeLetterTokenizer(folder, { size, ...tokenizer })
  return folder
}

/** One of golden's adapters, as if trained on `base`. */
export function goldenAdapter(name: string, base: string, adapter = "adapter"): string {
  const folder = join(newFolder(), "adapter")
  cpSync(`${MODELS}${name}/${adapter}`, folder, { recursive: true })
  const path = join(folder, "adapter_config.json")
  const config = JSON.parse(readFileSync(path, "utf8")) as object
  writeFileSync(path, JSON.stringify({ ...config, base_model_name_or_path: base }))
  return folder
}

type Change = (tokenizer: Record<string, unknown>) => Record<string, unknown>

/**
 * A random model of the smallest size around a real tokenizer of ../shared/data, perhaps changed.
 */
export async function modelAround(
  tokenizer: string,
  vocabSize: number,
  change?: Change,
): Promise<string> {
  const folder = join(newFolder(), tokenizer)
  mkdirSync(folder)
  const json = {
    model_type: "llama",
    architectures: ["LlamaForCausalLM"],
    hidden_size: 32,
    intermediate_size: 32,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    vocab_size: vocabSize,
    max_position_embeddings: 4096,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
    eos_token_id: vocabSize - 1,
  }
  const random = randomStream(0, tokenizer)
  const tensors = decoderParameters(modelConfig(json).shape).map(
    ({ name, shape }): TensorSource => {
      const read = async () =>
        Float32Array.from({ length: elementCount(shape) }, () => random() - 0.5)
      return { name, shape, read }
    },
  )
  await saveModel(folder, {
    config: { json },
    tensors,
    dtype: "float32",
    source: `${DATA}tokenizers/${tokenizer}`,
  })
  const path = join(folder, "tokenizer.json")
  if (change) writeFileSync(path, JSON.stringify(change(JSON.parse(readFileSync(path, "utf8")))))
  return folder
}
