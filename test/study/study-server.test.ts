import { existsSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { expect, test, vi } from "vitest"
import { stringify } from "yaml"
import { analyse } from "../../src/study/analysis.ts"
import { loadStudy } from "../../src/study/load-study.ts"
import { runStudy } from "../../src/study/run-study.ts"
import { readStudyEvents } from "../../src/study/study-events.ts"

const MODEL = fileURLToPath(new URL("../../demo/model", import.meta.url))
const signal = new AbortController().signal

/** Answers every question with 7, and writes down what it was started with. */
const SERVER = `
import { createServer } from "node:http"
import { appendFileSync } from "node:fs"
const [, , model, base, port, notes] = process.argv
appendFileSync(notes, JSON.stringify({ pid: process.pid, model, base }) + "\\n")
createServer((request, response) => {
  response.setHeader("content-type", "application/json")
  if (request.url === "/v1/models") return response.end(JSON.stringify({ data: [{ id: "model" }] }))
  request.resume().on("end", () =>
    response.end(JSON.stringify({ choices: [{ text: "7", message: { content: "7" }, finish_reason: "stop" }] })),
  )
}).listen(Number(port), "127.0.0.1")
`

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

async function studyWith(server: Record<string, unknown>) {
  const folder = mkdtempSync(join(tmpdir(), "dftune-study-"))
  const file = (name: string, text: string) => {
    const path = join(folder, name)
    writeFileSync(path, text)
    return path
  }
  const script = file("server.mjs", SERVER)
  const notes = join(folder, "notes.jsonl")
  const rows = [1, 2].map((n) => JSON.stringify({ prompt: `${n}+1=`, completion: `${n + 1}` }))
  const problems = [7, 8].map((answer) => JSON.stringify({ problem: "x?", answer: `${answer}` }))
  const study = {
    config: {
      model: MODEL,
      data: { train: file("train.jsonl", `${rows.join("\n")}\n`), max_length: 32 },
      batch_size: 2,
      max_steps: 1,
      save_steps: 0,
      engine: { name: "onnx", device: "cpu", threads: 1 },
    },
    axes: { objective: ["dft"], seed: [1] },
    evaluations: [
      { name: "sums", suite: file("sums.jsonl", problems.join("\n")), n: 3, decodings: [1] },
    ],
    contrasts: [{ a: "dft", b: "base", on: "sums" }],
    server: {
      command: [process.execPath, script, "{model}", "{base}", "{port}", notes],
      ...server,
    },
    output_dir: join(folder, "out"),
  }
  const path = file("study.yaml", stringify(study))
  return { study: await loadStudy(path), notes }
}

test("each model is asked through a server of its own, which is gone afterwards", async () => {
  const { study, notes } = await studyWith({})
  await runStudy(study, { signal })
  const { failures, scores } = analyse(await readStudyEvents(study.folder))
  expect(failures).toEqual([])
  expect(scores.map(({ arm, score, n }) => [arm, score, n])).toEqual([
    ["base", 0.5, 3],
    ["dft", 0.5, 3],
  ])
  const started = readFileSync(notes, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  const trained = join(study.folder, "cells", "dft-1", "run", "model")
  expect(started.map(({ model, base }) => [model, base])).toEqual([
    [MODEL, MODEL],
    [trained, trained],
  ])
  await vi.waitFor(
    () => expect(started.map(({ pid }) => isAlive(pid as number))).toEqual([false, false]),
    60_000,
  )
}, 240_000)

test("a server that does not start is told of, with where its output is", async () => {
  const { study } = await studyWith({
    command: [process.execPath, "-e", "console.log('no GPU'); process.exit(3)"],
  })
  await runStudy(study, { signal, cells: ["base"] })
  const [failure] = analyse(await readStudyEvents(study.folder)).failures
  const log = join(study.folder, "cells", "base", "server.log")
  expect(failure!.message).toContain(`ended with code 3; its output is in ${log}`)
  expect(existsSync(log) && readFileSync(log, "utf8")).toContain("no GPU")
}, 240_000)
