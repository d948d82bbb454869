import { expect, test } from "vitest"
import { overlapLints } from "../../src/data/overlap.ts"
import { prepareData } from "../../src/data/prepare.ts"
import { InputError } from "../../src/errors.ts"
import { newFolder, rowFile, tinyModel } from "./tiny-model.ts"

const model = tinyModel()
const cache = newFolder()

async function prepared(path: string): Promise<string> {
  const sources = [{ path, weight: 1 }]
  return (await prepareData({ sources, tokenizer: model, cache, workers: 0 })).dir
}

const rows = rowFile([
  { problem: "What is  2+2?", solution: "4" },
  { question: "Who?", answer: "me" },
  {
    messages: [
      { role: "user", content: "what is 2+2?\n" },
      { role: "assistant", content: "four" },
    ],
  },
  { problem: "Why?", solution: "so" },
  { problem: "Qui a mangé ?".normalize("NFD"), solution: "moi" },
])

test("questions that are also in the eval rows, whatever their answer, case and white space", async () => {
  const evals = [await prepared(rowFile([{ prompt: "WHAT IS 2+2?", completion: "5" }]))]
  const lints = await overlapLints({ train: await prepared(rows), evals })
  expect(lints).toMatchObject([
    { code: "eval-overlap", severity: "warning", count: 2, examples: [`${rows}:1`, `${rows}:3`] },
  ])
  expect(await overlapLints({ train: await prepared(rows), evals: [] })).toEqual([])
})

test("benchmarks need questions only", async () => {
  const path = rowFile([{ query: "why?", answer: 3 }, { question: "Qui a mangé ?" }])
  const train = await prepared(rows)
  const lints = await overlapLints({ train, evals: [], benchmarks: [{ path, weight: 1 }] })
  expect(lints).toMatchObject([
    { code: "benchmark-overlap", count: 2, examples: [`${rows}:4`, `${rows}:5`] },
  ])
  const wrong = overlapLints({
    train,
    evals: [],
    benchmarks: [{ path: rowFile([{ x: 1 }]), weight: 1 }],
  })
  await expect(wrong).rejects.toThrow(InputError)
})
