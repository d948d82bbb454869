/** Every verb sends, for every shape of row, the ids that preview shows before the answer. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, describe, expect, test } from "vitest"
import { openPrepared } from "../../src/data/index.ts"
import { layoutOf, mainKind, typedPrompt } from "../../src/data/layout.ts"
import { prepareData } from "../../src/data/prepare.ts"
import { readPrompts } from "../../src/data/prompts.ts"
import { readPrompt } from "../../src/data/rows/prompt-row.ts"
import { promptIn } from "../../src/evaluate/index.ts"
import { askingWarning, promptIds, promptOf } from "../../src/generate/index.ts"
import { readyRequest } from "../../src/server/completion.ts"
import { askedChat, askedText } from "../../src/server/completion-request.ts"
import { loadChatTemplate, loadTokenizer } from "../../src/text/index.ts"
import { samplePrompts } from "../../src/train/samples.ts"
import { rowFile, tinyModel } from "../data/tiny-model.ts"
import { layoutUnder, MODELS, shapesFor, trainedPrompt } from "./layout-shapes.ts"

const folder = mkdtempSync(join(tmpdir(), "dftune-verbs-"))
afterAll(() => rmSync(folder, { recursive: true }))

type Row = Record<string, unknown>

/** What the row's user typed, where that is one text below at most a system text. */
function typedOf(row: Row): { said: string; system?: string } | undefined {
  const { system } = row
  if (row.tools || row.context || row.history || row.instruction) return undefined
  if (Array.isArray(row.messages) && row.messages[0].role === "system") {
    return { said: "2+2?", system: row.messages[0].content }
  }
  return { said: "2+2?", ...(typeof system === "string" ? { system } : {}) }
}

describe.each(MODELS)("%s", async (_, template, layouts) => {
  const model = tinyModel({ template, addsBos: true })
  const tokenizer = await loadTokenizer(model)
  const chatTemplate = await loadChatTemplate(model)
  const encoding = { tokenizer, template: chatTemplate }

  const cases = layouts.flatMap((how) =>
    shapesFor(template).map(([name, row]) => ({ name, row, how })),
  )
  const options = (row: Row, how: string | true) => ({
    sources: [{ path: rowFile([row]), weight: 1 }],
    ...{ tokenizer: model, template: how, supervise: "last" as const },
  })
  const known = new Map<string, ReturnType<typeof prepare>>()
  /** Prepared as training has it, the layout that the run's model folder carries, preview's ids. */
  function trained(row: Row, how: string | true): ReturnType<typeof prepare> {
    const key = JSON.stringify([row, how])
    const found = known.get(key) ?? prepare(row, how)
    known.set(key, found)
    return found
  }
  async function prepare(row: Row, how: string | true) {
    const cache = join(folder, "cache")
    const { dir, manifest } = await prepareData({ ...options(row, how), workers: 0, cache })
    const { plainTexts } = layoutUnder(template, how)
    const layout = layoutOf(plainTexts, {}, manifest.layouts ?? null)
    return { dir, layout, ids: await trainedPrompt(row, model, how) }
  }

  test.each(cases)("samples during the run: $name under template: $how", async ({ row, how }) => {
    const { dir, ids } = await trained(row, how)
    const rows = await openPrepared(dir)
    const config = { generate_samples: { prompts: 1 } }
    const plan = { evalSets: [], rows, config } as unknown as Parameters<typeof samplePrompts>[0]
    expect(samplePrompts(plan).map(({ tokenIds }) => tokenIds)).toEqual([ids])
    rows.close()
  })

  test.each(cases)("rollouts: $name under template: $how", async ({ row, how }) => {
    const { prompts } = await readPrompts({
      prepare: options(row, how),
      data: { on_bad_row: "error" } as Parameters<typeof readPrompts>[0]["data"],
      maxTokens: 10_000,
      rowProblem: () => undefined,
    })
    expect([...prompts[0]!.tokenIds]).toEqual((await trained(row, how)).ids)
  })

  test.each(cases)("the API: $name under template: $how", async ({ row, how }) => {
    const prompt = promptOf(
      readPrompt(row, { columns: {}, where: "f:1" }),
      layoutUnder(template, how),
    )
    const conversation =
      typeof prompt === "string" || Array.isArray(prompt) ? prompt : { ...prompt }
    const asked =
      typeof conversation === "string"
        ? askedText({ model: "m", prompt: conversation })
        : askedChat({
            model: "m",
            ...(Array.isArray(conversation) ? { messages: conversation } : conversation),
          })
    const shape = { vocabSize: 1000, maxPositionEmbeddings: 4096 }
    const open = { ...encoding, model: { shape } } as unknown as Parameters<
      typeof readyRequest
    >[1]["open"]
    const sent = readyRequest(asked, { open }).requests.map(({ prompt }) => prompt)
    expect(sent).toEqual([{ tokenIds: (await trained(row, how)).ids }])
  })

  const typed = cases.filter(({ row }) => typedOf(row) !== undefined)
  test.each(typed)("chat: $name under template: $how", async ({ row, how }) => {
    const { layout, ids } = await trained(row, how)
    const { said, system } = typedOf(row)!
    const prompt = promptOf(typedPrompt(said, layout, system), layoutUnder(template, how))
    expect(promptIds(prompt, encoding)).toEqual(ids)
  })

  const alone = typed.filter(({ row }) => typedOf(row)!.system === undefined)
  test.each(alone)(
    "eval: $name under template: $how, or a warning with both texts",
    async ({ row, how }) => {
      const { layout, ids } = await trained(row, how)
      const parts = { ...layoutUnder(template, how), plainTexts: layout.plainTexts }
      const sent = promptIds(promptIn("auto", { problem: "2+2?" }, parts), encoding)
      const asking = { ...parts, trained: layout, template: chatTemplate } as unknown as Parameters<
        typeof askingWarning
      >[1]
      const warning = askingWarning({ prompt: "2+2?", question: true }, asking)
      if (warning === undefined) expect(sent).toEqual(ids)
      else {
        expect(sent).not.toEqual(ids)
        expect(warning.message).toMatch(/asked: +"[\s\S]*trained: +"/)
        expect(mainKind(layout)).toBe("plain")
      }
    },
  )
})
