/** What configs, runs, samples and servers say. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { HTTPException } from "hono/http-exception"
import { loadConfig } from "../../src/config/index.ts"
import { openPrepared } from "../../src/data/index.ts"
import { InputError } from "../../src/errors.ts"
import { compareEvaluations, gradeFile } from "../../src/evaluate/index.ts"
import { readChoice } from "../../src/generate/endpoint-answer.ts"
import { openSampleFile } from "../../src/generate/sample-file.ts"
import { Grader } from "../../src/grading/grader/grader.ts"
import { gradeUnbounded } from "../../src/grading/grader/verdict.ts"
import { objectiveFromConfig, objectiveToJson } from "../../src/objectives/index.ts"
import { importConfig } from "../../src/peers/import-config.ts"
import { reportHtml } from "../../src/report/run-page.ts"
import { summarizeRuns } from "../../src/report/run-summary.ts"
import { readRun } from "../../src/run/run-folder.ts"
import { askedChat, askedText } from "../../src/server/completion-request.ts"
import { analyse } from "../../src/study/analysis.ts"
import { loadStudy } from "../../src/study/load-study.ts"
import { readStudyEvents } from "../../src/study/study-events.ts"
import { studyHtml, studyMarkdown } from "../../src/study/study-report.ts"
import { readState } from "../../src/train/checkpoint.ts"
import { readReference, writeReference } from "../../src/train/reference-file.ts"
import { mutatedBytes, mutatedJson, mutatedJsonFile } from "../mutate.ts"
import { checkpointState } from "./checkpoint-state.ts"
import { CONVERSATION, copied, fileOf, golden, mutatedLines, type Targets } from "./target.ts"

const CONFIG = {
  ...{ model: "m", data: { train: [{ path: "a.jsonl" }] }, objective: { name: "dft" } },
  ...{ adapter: { r: 8 }, learning_rate: 1e-4, engine: { name: "onnx" } },
}

const GRADED = { prompt: "1+1", completion: "The answer is \\boxed{\\frac{1}{2}}.", answer: "0.5" }

const CELL = { time: "2026-01-01T00:00:00Z", stage: "final", seed: 1 }
const OUTCOMES = { "p:1": "10", "p:2": "01" }
const STUDY_EVENTS: readonly unknown[] = [
  {
    ...{ type: "study.contrasts", time: CELL.time, study: "s", about: "a", limits: "l" },
    ...{ arms: ["sft", "dft"], seeds: [1], after_results: false },
    contrasts: [
      { name: "dft - sft", a: "dft", b: "sft", on: "as trained", at: 0.5, bAt: 0.5 },
      { name: "losses", a: "dft", b: "sft", on: "held out", at: null, bAt: null },
    ],
  },
  ...["sft", "dft"].flatMap((arm) => [
    { ...CELL, type: "cell.start", cell: `${arm}-1`, arm, design: "d", settings: { seed: 1 } },
    {
      ...{ ...CELL, type: "score", cell: `${arm}-1`, arm, evaluation: "as trained" },
      ...{ decoding: 0.5, outcomes: OUTCOMES, tokens: 5, ended: 1 },
    },
    { ...CELL, type: "loss", cell: `${arm}-1`, arm, name: "held out", rows: { "e:1": [2, 3] } },
    {
      ...CELL,
      type: "cell.end",
      cell: `${arm}-1`,
      arm,
      reason: "done",
      seconds: 1,
      candidate: null,
    },
  ]),
]

function writeEvaluation(folder: string, result: unknown, records: readonly unknown[]): void {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, "eval.json"), JSON.stringify([result]))
  writeFileSync(join(folder, "s.jsonl"), records.map((row) => `${JSON.stringify(row)}\n`).join(""))
}

/** What a server answers with a status is its refusal. */
function refusing(ask: () => unknown): void {
  try {
    ask()
  } catch (error) {
    throw error instanceof HTTPException ? new InputError(error.message) : error
  }
}

export const RUN_FILES: Targets = {
  "dftune.yaml"(work) {
    const path = join(work, "dftune.yaml")
    const base = Buffer.from(JSON.stringify(CONFIG, null, 1))
    return async (draw) => {
      writeFileSync(path, mutatedJsonFile(base, CONFIG, draw))
      await loadConfig(path)
    }
  },
  "study.yaml"(work) {
    const path = join(work, "study.yaml")
    const study = {
      config: CONFIG,
      axes: { objective: ["sft", "dft"], learning_rate: [1e-4, 5e-4], seed: [1, 2] },
      choose: { axes: "learning_rate", suite: "c.jsonl" },
      evaluations: [{ name: "as trained", suite: "p.jsonl", n: 2 }],
      losses: [{ name: "held out", data: "e.jsonl", max_rows: 8 }],
      contrasts: [{ a: "dft", b: "sft", on: ["as trained", "held out"] }],
    }
    const base = Buffer.from(JSON.stringify(study, null, 1))
    return async (draw) => {
      writeFileSync(path, mutatedJsonFile(base, study, draw))
      await loadStudy(path)
    }
  },
  "study events"(work) {
    const path = join(work, "e.jsonl")
    return async (draw) => {
      writeFileSync(path, mutatedLines(STUDY_EVENTS, draw))
      const events = await readStudyEvents(path)
      const result = analyse(events)
      studyHtml(result)
      studyMarkdown(result)
    }
  },
  "run folder"(work) {
    const folder = copied(golden("0.1.0/full"), work, "run")
    const path = join(folder, "events.jsonl")
    const lines = readFileSync(path, "utf8").trim().split("\n")
    const events = lines.map((line) => JSON.parse(line) as unknown)
    const page = () => void reportHtml(summarizeRuns([readRun(folder)]))
    const config = fileOf(folder, "config.json", page)
    const right = readFileSync(join(folder, "config.json"))
    return (draw) => {
      if (draw() < 0.2) return config(draw)
      writeFileSync(join(folder, "config.json"), right)
      writeFileSync(path, mutatedLines(events, draw))
      return page()
    }
  },
  "trainer.json"(work) {
    const folder = copied(golden("0.1.0/full/checkpoints/step-000003"), work, "step-000003")
    return fileOf(folder, "trainer.json", async () => void (await readState(folder)))
  },
  "trainer.json of today": checkpointState,
  prepared(work) {
    const [name] = readdirSync(golden("0.1.0/cache/prepared"))
    const folder = copied(join(golden("0.1.0/cache/prepared"), name!), work, "prepared")
    const names = ["manifest.json", "shard-00000.safetensors"] as const
    const right = names.map((file) => [file, readFileSync(join(folder, file))] as const)
    const read = async () => {
      const prepared = await openPrepared(folder)
      try {
        for (let row = 0; row < prepared.rows; row++) prepared.row(row)
      } finally {
        prepared.close()
      }
    }
    const targets = names.map((file) => fileOf(folder, file, read))
    return (draw) => {
      for (const [file, bytes] of right) writeFileSync(join(folder, file), bytes)
      return draw.of(targets)(draw)
    }
  },
  "stored reference"(work) {
    const path = join(work, "reference-0.safetensors")
    const rows = [0, 1, 2].map(
      (row) => [row, [Float32Array.of(-1, -2), Float32Array.of(-3)]] as const,
    )
    const made = writeReference(path, new Map(rows.map(([row, own]) => [row, [...own]])))
    let right: Buffer | undefined
    return async (draw) => {
      await made
      right ??= readFileSync(path)
      writeFileSync(path, mutatedBytes(right, draw))
      await readReference(path)
    }
  },
  samples(work) {
    const path = join(work, "samples.jsonl")
    const rows = [{ where: "p:1", fields: { prompt: "a" }, prompt: "a" }]
    const sample = { prompt: "a", completion: "b", token_ids: [1], logprobs: [-1], seed: 0 }
    return async (draw) => {
      writeFileSync(path, mutatedLines([{ ...sample, finish_reason: "stop" }], draw))
      const file = await openSampleFile(path, { rows, n: 1, seed: 0 })
      file.close()
    }
  },
  "graded samples"(work) {
    const path = join(work, "g.jsonl")
    const grader = new Grader({ mode: "strict" }) // one a file starts a thread a file
    return async (draw) => {
      writeFileSync(path, mutatedLines([GRADED], draw))
      await gradeFile(path, { mode: "strict", grader, out: () => {} })
    }
  },
  answers() {
    const golds = [
      "0.5",
      "\\frac{1}{2}",
      "[1, 2)",
      "\\begin{pmatrix}1\\\\2\\end{pmatrix}",
      "x^2+1=0",
    ]
    return (draw) => {
      const gold = draw.of(golds)
      const own = `So $x = ${draw.of(golds)}$, \\boxed{${draw.of(golds)}} km`
      const said = mutatedBytes(Buffer.from(own), draw).toString("utf8")
      gradeUnbounded(said, draw() < 0.5 ? gold : said.slice(-60), "strict")
    }
  },
  evaluation(work) {
    const result = { suite: "s", mode: "strict", n: 1, accuracy: 0.5 }
    const records = [1, 2, 3].map((id) => ({ id, correct: id > 1, completion: "x", seed: id }))
    const right = (name: string) => {
      const folder = join(work, name)
      writeEvaluation(folder, result, records)
      return folder
    }
    const [a, b] = [right("a"), right("b")] as const
    const json = fileOf(b, "eval.json", async () => void (await compareEvaluations([a, b])))
    return async (draw) => {
      writeEvaluation(b, result, records)
      if (draw() < 0.5) return json(draw)
      writeFileSync(join(b, "s.jsonl"), mutatedLines(records, draw))
      await compareEvaluations([a, b])
    }
  },
  objective() {
    const names = ["dft", "power", "mix", "focal", "psft", "eaft", "dpo", "asft"]
    const bases = names.map((name) => objectiveToJson(objectiveFromConfig(name)))
    return (draw) => {
      const base = draw.of(bases)
      const settings = { name: "mine", expression: mutatedJson(base, draw) }
      objectiveFromConfig(settings as never)
    }
  },
  peers() {
    const texts = {
      "a.yaml":
        "base_model: m\ndatasets:\n  - path: d.jsonl\n    type: alpaca\nlearning_rate: 1e-4\n",
      "b.yaml": "model_name_or_path: m\nstage: sft\nfinetuning_type: lora\ndataset: d\n",
      "c.py": "SFTConfig(learning_rate=1e-4, output_dir='o')\nSFTTrainer(model='m')\n",
    }
    return (draw) => {
      const file = draw.of(Object.keys(texts)) as keyof typeof texts
      importConfig(mutatedBytes(Buffer.from(texts[file]), draw).toString("utf8"), { file })
    }
  },
  "requests to serve"() {
    const chat = { model: "m", messages: CONVERSATION.slice(0, 2), temperature: 0.5, stop: ["x"] }
    const text = { model: "m", prompt: "a", max_tokens: 5, n: 2 }
    return (draw) => {
      const [asked, base] = draw.of([[askedChat, chat] as const, [askedText, text] as const])
      refusing(() => asked(mutatedJson(base, draw)))
    }
  },
  "answers of endpoints"() {
    const message = { role: "assistant", content: "x", reasoning_content: "r" }
    const logprobs = { content: [{ token: "x", logprob: -1, bytes: [1] }] }
    const chat = { choices: [{ index: 0, message, logprobs, finish_reason: "stop" }] }
    const text = { choices: [{ text: "x", logprobs: { token_logprobs: [-1], tokens: ["x"] } }] }
    return (draw) => void readChoice(mutatedJson(draw.of([chat, text]), draw), "server")
  },
}
