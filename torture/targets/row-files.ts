/** Files of rows, and the rows in them. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import { renderOptionsOf } from "../../src/data/batch.ts"
import { previewData } from "../../src/data/index.ts"
import { datedSetup } from "../../src/data/prepare.ts"
import { readBatch } from "../../src/data/read-batch.ts"
import { rawRows, rowFileKind } from "../../src/data/row-files.ts"
import { readRow } from "../../src/data/rows/index.ts"
import { resolveSources, sourceBatches } from "../../src/data/sources.ts"
import { InputError } from "../../src/errors.ts"
import { readPromptRows } from "../../src/generate/prompt-rows.ts"
import { mutatedJson } from "../mutate.ts"
import {
  all,
  CONVERSATION,
  copied,
  golden,
  inRepo,
  mutatedLines,
  oneOf,
  type Targets,
} from "./target.ts"

const CALL = { type: "function", function: { name: "f", arguments: { x: 1 } } }
const ROWS: readonly unknown[] = [
  { messages: CONVERSATION },
  {
    messages: [...CONVERSATION.slice(0, 2), { role: "assistant", content: "", tool_calls: [CALL] }],
  },
  { prompt: "1+1=", completion: "2", weight: 0.5 },
  { instruction: "add", input: "1", output: "2", history: [["a", "b"]] },
  {
    conversations: [
      { from: "human", value: "x" },
      { from: "gpt", value: "y" },
    ],
  },
  { problem: "p", solution: "s" },
  { text: "plain" },
]
const PAIR = { prompt: "p", chosen: "c", rejected: "r" }
const LINES = ROWS.map((row) => JSON.stringify(row)).join("\n")

const read = (path: string) => all(rawRows(path, rowFileKind(path)!))

/** Files that golden/row_files.py made. */
const goldenRows = (ending: string) =>
  Object.fromEntries(
    readdirSync(golden("rows"))
      .filter((name) => name.endsWith(ending))
      .map((name) => [name, readFileSync(golden(`rows/${name}`))] as const),
  )

export const ROW_FILES: Targets = {
  parquet(work) {
    const own = readFileSync(inRepo("test/data/messages.parquet"))
    return oneOf({ "messages.parquet": own, ...goldenRows(".parquet") }, work, read)
  },
  arrow: (work) => oneOf(goldenRows(".arrow"), work, read),
  jsonl: (work) => oneOf({ "a.jsonl": Buffer.from(`${LINES}\n`) }, work, read),
  json(work) {
    const list = Buffer.from(JSON.stringify(ROWS, null, 1))
    const document = Buffer.from(JSON.stringify({ data: ROWS, more: [1] }))
    return oneOf({ "list.json": list, "document.json": document }, work, read)
  },
  csv(work) {
    const text = 'prompt,completion,weight\n"1+1=",2,1\n"a ""b""",c,0.5\n"x\ny",z,\n'
    const tabs = Buffer.from(text.replaceAll(",", "\t"))
    return oneOf({ "a.csv": Buffer.from(text), "a.tsv": tabs }, work, read)
  },
  gzip(work) {
    const [long, bomb] = [`${LINES}\n`.repeat(6), `"${"a".repeat(3e6)}"`]
    const small = oneOf({ "a.jsonl.gz": gzipSync(LINES), "b.json.gz": gzipSync(long) }, work, read)
    // half a second of csv-parse each: some are enough
    const large = oneOf({ "c.csv.gz": gzipSync(bomb) }, work, read)
    return (draw) => (draw() < 0.997 ? small : large)(draw)
  },
  zstd: (work) =>
    oneOf({ "raw.jsonl.zst": zstandard(LINES), ...goldenRows(".jsonl.zst") }, work, read),
  rows() {
    return (draw) => {
      const pair = draw() < 0.2
      const row = mutatedJson(pair ? PAIR : draw.of(ROWS), draw)
      const purpose = pair ? "preference" : "supervised"
      readRow(row, { format: "auto", purpose, where: "a.jsonl:1" })
    }
  },
  "rendered rows"(work) {
    const tokenizer = copied(golden("0.1.0/model"), work, "model")
    const path = join(work, "rendered.jsonl")
    const sources = [{ path, weight: 1 }]
    const options = { sources, tokenizer, template: "auto", maxLength: 512 } as const
    const opened = datedSetup(options).then(
      async (setup) => [setup, await renderOptionsOf(setup)] as const,
    )
    return async (draw) => {
      writeFileSync(path, mutatedLines(ROWS, draw))
      // opening the tokenizer takes most of the time: some do it, and are looked at for lints
      if (draw() < 0.1) {
        await previewData({ ...options, examples: 9, scan: 9, show: () => {} })
        return
      }
      const [setup, rendering] = await opened
      for await (const { batch } of sourceBatches(await resolveSources(sources)))
        for (const row of readBatch(batch, setup, rendering))
          if ("problem" in row) throw new InputError(row.problem)
    }
  },
  prompts() {
    const rows = [{ prompt: "a" }, { messages: CONVERSATION.slice(0, 2), id: 1 }, { problem: "p" }]
    return (draw) => void readPromptRows(mutatedLines(rows, draw).toString("utf8"), "p.jsonl", {})
  },
}

/** A zstd frame of one raw block: what golden/rows has is packed. */
function zstandard(text: string): Buffer {
  const content = Buffer.from(text)
  const frame = Buffer.alloc(4 + 1 + 4 + 3)
  frame.writeUInt32LE(0xfd2fb528, 0)
  frame[4] = 0b1010_0000 // single segment, four bytes of content size
  frame.writeUInt32LE(content.length, 5)
  frame.writeUIntLE((content.length << 3) | 1, 9, 3) // last block, raw
  return Buffer.concat([frame, content])
}
