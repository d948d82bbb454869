import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

/** A new empty folder. */
export function newFolder(): string {
  return mkdtempSync(join(tmpdir(), "dftune-data-"))
}

/** GPT-2's printable stand-ins for the 256 bytes, in the order of the bytes. */
function standIns(): string[] {
  const printable = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte !== 173)
  let extra = 256
  return Array.from({ length: 256 }, (_, byte) =>
    String.fromCharCode(printable(byte) ? byte : extra++),
  )
}

export const SPECIAL = { bos: 256, eos: 257, imStart: 258, imEnd: 259 } as const

const CHATML = `{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}`

interface TinyModel {
  readonly addsBos?: boolean
  /** null: none. */
  readonly template?: string | null
  readonly bos?: string
  readonly eos?: string
  /** Further special tokens. */
  readonly special?: readonly string[]
}

/**
 * A folder with a tokenizer of single bytes (every text has one tokenisation, easy to check by
 * hand).
 */
export function tinyModel({
  addsBos = false,
  template = CHATML,
  bos = "<bos>",
  eos = "<eos>",
  special = [],
}: TinyModel = {}): string {
  const folder = join(newFolder(), "model")
  mkdirSync(folder)
  const texts = ["<bos>", "<eos>", "<|im_start|>", "<|im_end|>", ...special]
  const vocab = Object.fromEntries(standIns().map((piece, id) => [piece, id]))
  const tokenizer = {
    version: "1.0",
    added_tokens: texts.map((content, i) => ({
      id: 256 + i,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: {
      type: "ByteLevel",
      add_prefix_space: false,
      trim_offsets: true,
      use_regex: true,
    },
    post_processor: addsBos
      ? {
          type: "TemplateProcessing",
          single: [
            { SpecialToken: { id: "<bos>", type_id: 0 } },
            { Sequence: { id: "A", type_id: 0 } },
          ],
          pair: [{ Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 1 } }],
          special_tokens: { "<bos>": { id: "<bos>", ids: [256], tokens: ["<bos>"] } },
        }
      : null,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab,
      merges: [],
    },
  }
  const config = {
    bos_token: bos,
    eos_token: eos,
    tokenizer_class: "PreTrainedTokenizerFast",
    ...(template === null ? {} : { chat_template: template }),
  }
  writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(tokenizer))
  writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify(config))
  return folder
}

/** Rows as JSON lines in a new file. */
export function rowFile(rows: readonly unknown[], name = "rows.jsonl"): string {
  const path = join(newFolder(), name)
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""))
  return path
}
