import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, describe, expect, test } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import { mainKind, typedPrompt, UNKNOWN_LAYOUT } from "../../src/data/layout.ts"
import { prepareData } from "../../src/data/prepare.ts"
import { promptIn } from "../../src/evaluate/index.ts"
import {
  askingOf,
  askingWarning,
  type PromptLayout,
  promptIds,
  promptOf,
  promptRows,
  readPromptRows,
} from "../../src/generate/index.ts"
import { loadChatTemplate, loadTokenizer } from "../../src/text/index.ts"
import { runHere } from "../../src/train/run.ts"
import { rowFile, tinyModel } from "../data/tiny-model.ts"
import { tinyModel as tinyWeights } from "../train/tiny-model.ts"
import { layoutUnder, MODELS, SHAPES, shapesFor, trainedPrompt } from "./layout-shapes.ts"

describe.each(MODELS)("%s", async (_, template, layouts) => {
  const model = tinyModel({ template, addsBos: true })
  const tokenizer = await loadTokenizer(model)
  const chatTemplate = await loadChatTemplate(model)
  const encoding = { tokenizer, template: chatTemplate }

  for (const how of layouts) {
    const layout = layoutUnder(template, how)
    test.each(shapesFor(template))(
      `generate asks %s as it was trained under template: ${how}`,
      async (_, row) => {
        const [asked] = promptRows(JSON.stringify(row), "f", layout)
        expect(promptIds(asked!.prompt, encoding)).toEqual(await trainedPrompt(row, model, how))
      },
    )

    test(`eval and chat ask a question as it was trained under template: ${how}`, async () => {
      const ids = await trainedPrompt({ problem: "2+2?", solution: "4" }, model, how)
      expect(promptIds(promptIn("auto", { problem: "2+2?" }, layout), encoding)).toEqual(ids)
      const { manifest } = await prepared([{ problem: "2+2?", solution: "4" }], model, how)
      const trained = { ...layout, trained: manifest.layouts! }
      expect(promptIds(promptOf(typedPrompt("2+2?", trained), layout), encoding)).toEqual(ids)
    })
  }
})

const folder = mkdtempSync(join(tmpdir(), "dftune-layouts-"))
afterAll(() => rmSync(folder, { recursive: true }))

const prepared = (rows: readonly unknown[], tokenizer: string, template: string | true = "auto") =>
  prepareData({
    sources: [{ path: rowFile(rows), weight: 1 }],
    ...{ tokenizer, template, workers: 0, cache: join(folder, "cache") },
  })

test("the rows' layouts are counted, and the most frequent is how one is asked", async () => {
  const rows = [
    { problem: "q1", solution: "a" },
    { question: "q2", answer: "a" },
    { prompt: "q3", completion: "a" },
    { text: "t" },
  ]
  const chat = (await prepared(rows, tinyModel())).manifest.layouts
  expect(chat).toEqual({ template: 2, question: 0, plain: 1, text: 1 })
  const plain = (await prepared(rows, tinyModel({ template: null }))).manifest.layouts
  expect(plain).toEqual({ template: 0, question: 2, plain: 1, text: 1 })
  expect(mainKind({ ...UNKNOWN_LAYOUT, trained: chat! })).toBe("template")
  expect(mainKind({ ...UNKNOWN_LAYOUT, trained: plain! })).toBe("question")
  expect(mainKind(UNKNOWN_LAYOUT)).toBeUndefined()
})

describe("a run carries its layout", async () => {
  const base = tinyWeights(folder, "qwen2")
  const config = JSON.parse(readFileSync(join(base, "tokenizer_config.json"), "utf8")) as object
  const chat_template =
    "{% for m in messages %}{{ m.role + ': ' + m.content + eos_token }}{% endfor %}" +
    "{% if add_generation_prompt %}assistant: {% endif %}"
  writeFileSync(join(base, "tokenizer_config.json"), JSON.stringify({ ...config, chat_template }))
  const rows = rowFile([
    { question: "2 + 2?", answer: "4" },
    { question: "3 + 3?", answer: "6" },
  ])
  const train = async (name: string, data: object) => {
    process.env.DFTUNE_CACHE = join(folder, "cache")
    const settings = parseConfig({
      ...{ model: base, output_dir: join(folder, name), max_steps: 1, batch_size: 2 },
      data: { train: [rows], max_length: 64, ...data },
      generate_samples: { prompts: 1, every: 1, max_new_tokens: 2 },
    })
    const prompts: string[] = []
    for await (const event of runHere(settings))
      if (event.type === "sample") prompts.push(event.prompt)
    return { run: join(folder, name), sampled: prompts.at(-1)! }
  }
  const asked = async (run: string, template?: string) => {
    const asking = await askingOf(run, { template })
    return { asking, prompt: promptOf({ prompt: "2 + 2?", question: true }, asking) }
  }

  test("through the template, by default", async () => {
    const { run, sampled } = await train("auto", {})
    const file = JSON.parse(readFileSync(join(run, "model", "dftune.json"), "utf8")) as unknown
    expect(file).toEqual({
      version: 1,
      layout: {
        template: "auto",
        columns: {},
        rows: { template: 2, question: 0, plain: 0, text: 0 },
      },
    })
    const { asking, prompt } = await asked(run)
    const tokenizer = await loadTokenizer(base)
    const ids = promptIds(prompt, { tokenizer, template: asking.template })
    expect(tokenizer.decode(ids)).toBe(sampled)
    expect(askingWarning({ prompt: "2 + 2?", question: true }, asking)).toBeUndefined()

    const raw = (await asked(run, "none")).asking
    const { message } = askingWarning({ prompt: "2 + 2?", question: true }, raw)!
    expect(message).toContain('asked:   "2 + 2?"')
    expect(message).toContain('trained: "user: 2 + 2?</s>assistant: "')
  })

  test("without it, and with a template of one's own", async () => {
    const { run, sampled } = await train("none", { template: "none" })
    const { asking, prompt } = await asked(run)
    expect([prompt, sampled]).toEqual(["2 + 2?", "2 + 2?"])
    expect(mainKind(asking.trained)).toBe("question")
    const { message } = askingWarning({ prompt: "2 + 2?" }, (await asked(run, "true")).asking)!
    expect(message).toContain('trained: "2 + 2?"')

    const own = join(folder, "own.jinja")
    writeFileSync(own, "q: {{ messages[0].content }} a: {{ messages[1].content if messages[1:] }}")
    const { run: custom } = await train("custom", { template: own })
    expect((await asked(custom)).asking.template?.source).toContain("q: ")
    expect((await asked(custom)).prompt).toEqual([{ role: "user", content: "2 + 2?" }])
  })

  test("a run of 0.1.0 is asked as its config and rows say", async () => {
    const { run } = await train("old", { template: null })
    rmSync(join(run, "model", "dftune.json"))
    const { asking, prompt } = await asked(run)
    expect(prompt).toBe("2 + 2?")
    expect(asking.trained.trained).toMatchObject({ question: 2, template: 0 })
  })
})

describe("--system", () => {
  const layout: PromptLayout = { hasTemplate: true, plainTexts: "auto", columns: {} }
  const asked = (row: Record<string, unknown>, system?: string) =>
    readPromptRows(JSON.stringify(row), "p.jsonl", {}, system).map((read) =>
      promptOf(read.asked, layout),
    )[0]

  test.each(SHAPES)(
    "%s: as a system text of the row, which stands where there is one",
    (_, row) => {
      const own = JSON.stringify(asked({ ...row })).includes('"s"') || "system" in row
      expect(asked(row, "Be brief.")).toEqual(
        own ? asked(row) : asked({ ...row, system: "Be brief." }),
      )
      expect(JSON.stringify(asked(row, "Be brief.")).split("Be brief.")).toHaveLength(own ? 1 : 2)
    },
  )

  test("a typed prompt stands below it, in the layout that the model knows", () => {
    const told = [
      { role: "system", content: "s" },
      { role: "user", content: "2+2?" },
    ]
    const kinds = { template: 0, question: 0, plain: 0, text: 0 }
    const typed = (trained: typeof kinds | null, parts: Partial<PromptLayout> = {}) =>
      promptOf(typedPrompt("2+2?", { ...UNKNOWN_LAYOUT, trained }, "s"), { ...layout, ...parts })
    expect(typed(null)).toEqual(told)
    expect(typed({ ...kinds, template: 1 })).toEqual(told)
    expect(typed({ ...kinds, question: 1 }, { hasTemplate: false })).toBe("s\n2+2?\n")
    expect(typed({ ...kinds, plain: 1 })).toBe("s\n2+2?")
    expect(typed(null, { plainTexts: "none" })).toBe("s\n2+2?")
  })
})
