import { execFileSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import { afterAll, describe, expect, test } from "vitest"
import {
  generate,
  openSampleFile,
  promptRows,
  readPromptFile,
  type Sample,
  type SampleRequest,
  type SampleSource,
  sampleRow,
} from "../../src/generate/index.ts"

const folder = mkdtempSync(join(tmpdir(), "dftune-samples-"))
afterAll(() => rmSync(folder, { recursive: true }))
let files = 0
const fresh = () => join(folder, `${files++}.jsonl`)

const layout = { hasTemplate: false, plainTexts: "none", columns: {} } as const
const rows = promptRows(
  '{"prompt":"a","id":1}\n\n{"question":"b","answer":"c"}\n',
  "p.jsonl",
  layout,
)
const plan = { rows, n: 3, seed: 50 }

/** Answers from memory, last asked first, and what was asked of it. */
function memory() {
  const asked: SampleRequest[] = []
  const source: SampleSource = {
    async *sample(requests) {
      asked.push(...requests)
      for (const [requestIndex, request] of [...requests.entries()].reverse()) {
        for (let sampleIndex = request.n - 1; sampleIndex >= 0; sampleIndex--) {
          const seed = request.seed + sampleIndex
          const sample: Sample = {
            ...{ requestIndex, sampleIndex, seed, finishReason: "stop" },
            completion: `${JSON.stringify(request.prompt)} ${seed}`,
            tokenIds: [seed],
            logprobs: [-1],
          }
          yield sample
        }
      }
    },
  }
  return { source, asked }
}

/** Writes samples to a file as the command does; stops after `most`. */
async function write(path: string, most = Number.POSITIVE_INFINITY) {
  const file = await openSampleFile(path, plan)
  const { source, asked } = memory()
  const settings = { temperature: 1, maxNewTokens: 4 }
  const { n, seed } = plan
  let written = 0
  for await (const sample of generate({ source, rows, n, seed, settings, done: file.done })) {
    if (written++ === most) break
    file.append(sampleRow(rows[sample.row]!.fields, sample))
  }
  if (written <= most) await file.finish()
  file.close()
  return asked
}

test("a row is the prompt's fields and the sample's, in the order of the prompts", async () => {
  const path = fresh()
  await write(path)
  const lines = readFileSync(path, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line))
  expect(lines.map(({ seed }) => seed)).toEqual([50, 51, 52, 53, 54, 55])
  expect(lines[4]).toEqual({
    ...{ question: "b", answer: "c", completion: '"b" 54', token_ids: [54], logprobs: [-1] },
    ...{ finish_reason: "stop", seed: 54 },
  })
})

test("a file that was cut off is continued, and ends as one that was not", async () => {
  const whole = fresh()
  await write(whole)
  for (let stop = 0; stop <= 6; stop++) {
    const path = fresh()
    await write(path, stop)
    const asked = await write(path)
    expect(asked.reduce((sum, { n }) => sum + n, 0)).toBe(6 - stop)
    expect(readFileSync(path, "utf8")).toBe(readFileSync(whole, "utf8"))
  }
})

test("a torn last line is cut off and sampled again", async () => {
  const whole = fresh()
  await write(whole)
  const text = readFileSync(whole, "utf8")
  for (const length of [1, 30, text.length - 1]) {
    const path = fresh()
    writeFileSync(path, text.slice(0, length))
    await write(path)
    expect(readFileSync(path, "utf8")).toBe(text)
  }
})

test("a sample missing in the middle is asked for alone, with its own seed", async () => {
  const path = fresh()
  await write(path)
  const lines = readFileSync(path, "utf8").trim().split("\n")
  writeFileSync(path, `${[0, 2, 3].map((i) => lines[i]).join("\n")}\n`)
  const asked = await write(path)
  expect(asked.map(({ seed, n }) => [seed, n])).toEqual([
    [51, 1],
    [54, 2],
  ])
})

describe("a file of something else is left as it is", () => {
  const foreign: readonly [name: string, line: string][] = [
    ["another prompt", '{"prompt":"z","id":1,"seed":50}'],
    ["other seeds", '{"prompt":"a","id":1,"seed":7}'],
    ["no samples", '{"prompt":"a","id":1}'],
    ["seeds past the last row", '{"prompt":"a","id":1,"seed":56}'],
    ["no objects", "[1]"],
  ]
  test.each(foreign)("%s", async (_name, line) => {
    const path = fresh()
    writeFileSync(path, `${line}\n`)
    await expect(openSampleFile(path, plan)).rejects.toThrow(/1: this row is no sample of these/)
    expect(readFileSync(path, "utf8")).toBe(`${line}\n`)
  })
})

describe("prompts", () => {
  test("text as it is; messages up to the assistant's last answer", () => {
    const chat = [
      { role: "system", content: "s" },
      { role: "user", content: "u" },
    ]
    const text = [
      JSON.stringify({ prompt: "p" }),
      JSON.stringify({ prompt: chat }),
      JSON.stringify({ messages: [...chat, { role: "assistant", content: "old" }] }),
      JSON.stringify({ problem: "q", solution: "s" }),
      JSON.stringify({ prompt: null, question: "w" }),
    ].join("\n")
    expect(promptRows(text, "f", layout).map(({ prompt }) => prompt)).toEqual([
      "p",
      chat,
      chat,
      "q",
      "w",
    ])
  })

  const [one, two] = [
    { prompt: "p", id: 1 },
    { prompt: "q", id: 2 },
  ]
  const lines = `${JSON.stringify(one)}\n${JSON.stringify(two)}\n`
  test.each<[string, string | Uint8Array]>([
    ["marked.jsonl", `\ufeff${lines.replaceAll("\n", "\r\n")}`],
    ["list.json", JSON.stringify([one, two])],
    ["list.jsonl", JSON.stringify([one, two])],
    ["packed.jsonl.gz", gzipSync(lines)],
    ["table.csv", "prompt,id\np,1\nq,2\n"],
  ])("a file of any kind that training reads: %s", async (name, content) => {
    const path = join(folder, name)
    writeFileSync(path, content)
    const rows = await readPromptFile(path, {})
    expect(rows.map(({ asked }) => asked.prompt)).toEqual(["p", "q"])
    expect(rows.map(({ fields }) => Number(fields.id))).toEqual([1, 2])
  })

  test("bytes that are no UTF-8 are told by their line, as training tells them", async () => {
    const path = fresh()
    writeFileSync(path, Buffer.from('{"prompt":"p"}\n{"prompt":"caf\xe9"}\n', "latin1"))
    await expect(readPromptFile(path, {})).rejects.toThrow(/:2: expected UTF-8 text/)
  })

  test.skipIf(process.platform === "win32")(
    "a pipe is no file, and is not waited for",
    async () => {
      const path = join(folder, "pipe")
      execFileSync("mkfifo", [path])
      await expect(readPromptFile(path, {})).rejects.toThrow(
        /expected a file, got a device or pipe/,
      )
    },
  )

  const bad: readonly [line: string, message: RegExp][] = [
    [
      '{"text":"x"}',
      /f:1: expected one of prompt, messages, .*problem, question, .*; the row has text/,
    ],
    ["{", /f:1: expected JSON/],
    ["[]", /f:1: expected an object, got a list/],
    ['{"prompt":3}', /f:1: expected "prompt" to be text, got 3/],
    ['{"messages":"x"}', /"messages" to be a list, got "x"/],
    ['{"messages":[{"role":"user"}]}', /"messages\[0\].content" to be text, got nothing/],
    ['{"messages":[{"role":"assistant","content":"x"}]}', /not the assistant's/],
    ['{"prompt":null}', /the row has prompt \(null\)$/],
    ["", /f: expected at least one row/],
  ]
  test.each(bad)("%s is refused", (line, message) => {
    expect(() => promptRows(line, "f", layout)).toThrow(message)
  })
})
