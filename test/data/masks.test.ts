import { existsSync, readdirSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { describe, expect, test } from "vitest"
import { renderOptionsOf } from "../../src/data/batch.ts"
import { type Rendered, renderExample } from "../../src/data/render.ts"
import { readRow } from "../../src/data/rows/index.ts"
import type { Tokenizer } from "../../src/text/index.ts"
import { fc } from "../seeded-check.ts"
import { SPECIAL, tinyModel } from "./tiny-model.ts"

const shared = (path: string) =>
  fileURLToPath(new URL(`../../../shared/data/${path}`, import.meta.url))
const TEMPLATES = existsSync(shared("chat_templates"))
  ? readdirSync(shared("chat_templates")).filter((name) => name.endsWith(".jinja"))
  : []

interface Model {
  readonly tokenizer: string
  readonly templateFile: string | null
}

async function renderer({ tokenizer, templateFile }: Model) {
  const options = await renderOptionsOf({
    tokenizer,
    templateFile,
    plainTexts: templateFile !== null ? "all" : "none",
    columns: {},
    implicitPrompt: false,
    onLongPair: "drop",
    purpose: "supervised",
    format: "auto",
    supervise: "completions",
    maxLength: 1 << 20,
    pictures: null,
    day: null,
  })
  return {
    tokenizer: options.tokenizer,
    render: (row: unknown, more: Partial<typeof options> = {}): Rendered => {
      const example = readRow(row, { format: "auto", purpose: "supervised", where: "row" })
      return renderExample(example, { ...options, ...more }, "row")[0]!
    },
  }
}

/** What the supervised tokens say, a text for each unbroken run of them. */
function trainedTexts({ tokenIds, lossMask }: Rendered, tokenizer: Tokenizer): string[] {
  const runs: number[][] = []
  for (const [t, id] of tokenIds.entries()) {
    if (lossMask[t] !== 1) continue
    if (lossMask[t - 1] === 1) runs.at(-1)!.push(id)
    else runs.push([id])
  }
  return runs.map((run) => tokenizer.decode(run))
}

describe("chats through a byte-level tokenizer, counted by hand", async () => {
  const { tokenizer, render } = await renderer({ tokenizer: tinyModel(), templateFile: null })
  const messages = [
    { role: "user", content: "q" },
    { role: "assistant", content: " a\n" },
    { role: "user", content: "r" },
    { role: "assistant", content: "é" },
  ]

  test("each answer and the token that closes it, nothing else", () => {
    const rendered = render({ messages })
    expect(trainedTexts(rendered, tokenizer)).toEqual([" a\n<|im_end|>", "é<|im_end|>"])
    expect(rendered.supervised).toBe(4 + 3)
    expect(rendered.notes).toEqual(["unknown-eos"])
    const ends = rendered.tokenIds.flatMap((id, t) =>
      id === SPECIAL.imEnd ? [rendered.tokenClass[t]] : [],
    )
    expect(ends).toEqual([1, 1, 1, 1])
    const saidQ = rendered.tokenIds.indexOf("q".charCodeAt(0))
    expect(rendered.tokenClass[saidQ]).toBe(0)
    expect(rendered.tokenClass[0]).toBe(2)
    expect(rendered.tokenClass[1]).toBe(2)
  })

  test("supervise: last and all", () => {
    expect(trainedTexts(render({ messages }, { supervise: "last" }), tokenizer)).toEqual([
      "é<|im_end|>",
    ])
    const all = render({ messages }, { supervise: "all" })
    expect(all.supervised).toBe(all.tokenIds.length - 1)
  })

  test("a prompt of messages is context, its earlier answers too", () => {
    const row = { prompt: messages.slice(0, 3), completion: messages.slice(3) }
    expect(trainedTexts(render(row), tokenizer)).toEqual(["é<|im_end|>"])
  })

  test("plain strings take the template only when asked", () => {
    const row = { prompt: "q", completion: "a" }
    expect(tokenizer.decode(render(row).tokenIds)).toBe("qa<eos>")
    const asked = render(row, { plainTexts: "all" })
    expect(tokenizer.decode(asked.tokenIds)).toBe(
      "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n",
    )
    expect(trainedTexts(asked, tokenizer)).toEqual(["a<|im_end|>"])
  })

  test("a closing token that the tokenizer does not know is trained; the next turn's opening is not", async () => {
    const marked = (closing: string) =>
      `{% for m in messages %}<turn:{{ m.role }}>{{ m.content }}${closing}{% endfor %}`
    const closed = await renderer({
      tokenizer: tinyModel({ template: marked("</turn>") }),
      templateFile: null,
    })
    expect(trainedTexts(closed.render({ messages }), tokenizer)).toEqual([
      " a\n</turn>",
      "é</turn>",
    ])
    const open = await renderer({
      tokenizer: tinyModel({ template: marked("") }),
      templateFile: null,
    })
    expect(trainedTexts(open.render({ messages }), tokenizer)).toEqual([" a\n", "é"])
  })

  test("a message that the template leaves out is noticed", async () => {
    const template = `{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.content }}<eos>{% endfor %}`
    const dropping = await renderer({ tokenizer: tinyModel({ template }), templateFile: null })
    const withSystem = [{ role: "system", content: "be brief" }, ...messages]
    expect(dropping.render({ messages: withSystem }).notes).toEqual(["dropped-role"])
    expect(dropping.render({ messages }).notes).toEqual([])
  })

  test("without a template, messages are refused with what to do", async () => {
    const bare = await renderer({ tokenizer: tinyModel({ template: null }), templateFile: null })
    expect(() => bare.render({ messages })).toThrow(/row: expected a chat template.*data.template/)
  })
})

/** Text as people and models write it: no special-token look-alikes, which would become tokens. */
const said = fc
  .oneof(
    fc.string({ unit: "grapheme", minLength: 1, maxLength: 40 }),
    fc.lorem({ maxCount: 12 }),
    fc.constantFrom(
      "4",
      "\\boxed{18}",
      "你好 😀",
      "a\n\nb",
      "x  y",
      "<b>&\"'</b>",
      "def f(x):\n\treturn x",
    ),
  )
  .map((text) =>
    text.replaceAll(
      // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is taken out
      /[<[][^a-zA-Z/]?[^\s]*[>\]]|\ufffd|[\u0000-\u0008\u000b-\u001f\u007f-\u009f]|\u2581/g,
      "",
    ),
  )
  .filter(
    (text) => text.trim() !== "" && !/\p{Surrogate}/u.test(text) && text.normalize("NFC") === text,
  )

/**
 * The tokens that the templates under ../shared/data write, so that one tokenizer fits them all.
 */
const TEMPLATE_TOKENS = [
  ..."<s> </s> <|eot_id|> <|begin_of_text|> <|start_header_id|> <|end_header_id|>".split(" "),
  ..."<start_of_turn> <end_of_turn> <|end|> <|user|> <|assistant|> <|system|> <|EOT|>".split(" "),
  ..."<｜end▁of▁sentence｜> <｜User｜> <｜Assistant｜>".split(" "),
]

const PAIRS = TEMPLATES.flatMap((template) => {
  const fitting = /^(qwen|chatml)/.test(template)
    ? ["qwen2.5"]
    : /^llama-3/.test(template)
      ? ["llama3"]
      : /^(llama-2|mistral|zephyr)/.test(template)
        ? ["llama2"]
        : []
  return ["bytes", ...fitting].map((tokenizer) => ({ template, tokenizer }))
})

test.runIf(TEMPLATES.length === 0)("../shared/data is absent: real templates are not tried", () => {
  expect(TEMPLATES).toEqual([])
})

test.each(PAIRS)(
  "$template trains what the assistant said ($tokenizer)",
  async ({ template, tokenizer: name }) => {
    const { tokenizer, render } = await renderer({
      tokenizer:
        name === "bytes"
          ? tinyModel({ bos: "<s>", eos: "</s>", special: TEMPLATE_TOKENS })
          : shared(`tokenizers/${name}`),
      templateFile: shared(`chat_templates/${template}`),
    })
    fc.assert(
      fc.property(fc.array(fc.tuple(said, said), { minLength: 1, maxLength: 3 }), (turns) => {
        const messages = turns.flatMap(([question, answer]) => [
          { role: "user", content: question },
          { role: "assistant", content: answer },
        ])
        const rendered = render({ messages })
        const trained = trainedTexts(rendered, tokenizer)
        expect(trained.length).toBe(turns.length)
        for (const [i, [, answer]] of turns.entries()) {
          // Qwen3's template writes an empty thought before the last answer: the model's to write
          const text = trained[i]!.replace(/^<think>\n\n<\/think>\n\n/, "")
          const start = text.indexOf(answer.trim())
          // beside it: white space that the template puts there or a token shares, and one closing
          // token
          expect(text.slice(0, start).trim()).toBe("")
          const closing = text.slice(start + answer.trim().length).trim()
          expect(closing).toMatch(/^<[^<>\s]+>$/)
          expect(tokenizer.addedTokens.has(tokenizer.encode(closing)[0]!)).toBe(true)
        }
      }),
      { numRuns: name === "bytes" ? 40 : 15 },
    )
  },
)
