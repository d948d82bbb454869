import { execFileSync, spawnSync } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { beforeAll, describe, expect, test } from "vitest"
import { exportModel } from "../../src/export/index.ts"
import { goTemplate, modelfile, type Turns, turnsOf } from "../../src/export/modelfile.ts"
import { type ChatMessage, type ChatTemplate, loadChatTemplate } from "../../src/text/index.ts"
import { DATA, goldenModel, hasData, newFolder, writeLetterTokenizer } from "./models.ts"

const ROOT = fileURLToPath(new URL("../../", import.meta.url))

async function template(source: string): Promise<ChatTemplate> {
  const folder = newFolder()
  writeLetterTokenizer(folder, { config: { chat_template: source } })
  return (await loadChatTemplate(folder))!
}

const CHATML = `{% if messages[0].role != 'system' %}<|im_start|>system
Be kind.<|im_end|>
{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`

test("a template of fixed texts is taken apart", async () => {
  expect(turnsOf(await template(CHATML))).toEqual({
    opening: "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n",
    system: ["<|im_start|>system\n", "<|im_end|>\n<|im_start|>user\n"],
    afterUser: "<|im_end|>\n<|im_start|>assistant\n",
    afterAssistant: "<|im_end|>\n<|im_start|>user\n",
  })
})

test("a template that takes no system message says so; one that does more is not taken apart", async () => {
  const strict = `{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}{% elif m.role == 'user' %}[{{ m.content }}]!{% else %}{{ m.content }};{% endif %}{% endfor %}`
  expect(turnsOf(await template(strict))).toMatchObject({ system: null, opening: "[" })
  const counting = `{% for m in messages %}{{ loop.index }}{{ m.content }}{% endfor %}`
  expect(turnsOf(await template(counting))).toBeUndefined()
  const last = `{{ messages[-1].content }}`
  expect(turnsOf(await template(last))).toBeUndefined()
})

interface Instruction {
  readonly name: string
  readonly value: string
}

/** What Ollama's parser makes of a Modelfile: quotes, single or triple, and no escapes. */
function parsed(text: string): Instruction[] {
  const line = /^(FROM|TEMPLATE|PARAMETER \w+) (?:"""([\s\S]*?)"""|"([^"\n]*)"|([^"\n]+))$/gm
  const found = [...text.matchAll(line)]
  expect(found.map(([whole]) => `${whole}\n`).join(""), "nothing else in it").toBe(text)
  return found.map(([, name, triple, single, bare]) => {
    return { name: name!, value: triple ?? single ?? bare! }
  })
}

test("a Modelfile names its parts; what its parser would change is left out", () => {
  const parts = { file: "m.gguf", contextLength: 64 }
  expect(
    parsed(modelfile({ ...parts, template: 'a "b"\n{{ .X }}', stops: ["</s>", "<|e|>"] })),
  ).toEqual([
    { name: "FROM", value: "./m.gguf" },
    { name: "TEMPLATE", value: 'a "b"\n{{ .X }}' },
    { name: "PARAMETER num_ctx", value: "64" },
    { name: "PARAMETER stop", value: "</s>" },
    { name: "PARAMETER stop", value: "<|e|>" },
  ])
  for (const bad of ['a"""b', '"a', 'a\n"', "a\u00a0b", "a\tb", "a\u200bb"]) {
    expect(modelfile({ ...parts, template: bad, stops: [bad] })).toBe(
      "FROM ./m.gguf\nPARAMETER num_ctx 64\n",
    )
  }
})

test("ollama: a GGUF file and a Modelfile that names it", async () => {
  const out = join(newFolder(), "out")
  const { files, notes } = await exportModel(goldenModel("llama"), {
    to: "ollama",
    out,
    type: "q8_0",
  })
  expect(files.map(({ file }) => file)).toEqual(["Modelfile", "llama-q8_0.gguf"])
  expect(notes).toEqual([])
  const [from, go, context, stop, ...rest] = parsed(readFileSync(join(out, "Modelfile"), "utf8"))
  expect(from).toEqual({ name: "FROM", value: "./llama-q8_0.gguf" })
  expect(go!.value).toContain("{{ range $i, $message := .Messages }}")
  expect(context).toEqual({ name: "PARAMETER num_ctx", value: "256" })
  expect(stop).toEqual({ name: "PARAMETER stop", value: "</s>" })
  expect(rest).toEqual([])
})

test("a model without a template continues text; one whose template says more has none", async () => {
  const written = async (config: object) => {
    const out = join(newFolder(), "out")
    const { notes } = await exportModel(goldenModel("llama", { config }), { to: "ollama", out })
    return { notes, names: parsed(readFileSync(join(out, "Modelfile"), "utf8")) }
  }
  const plain = await written({ chat_template: undefined })
  expect(plain.names[1]).toEqual({ name: "TEMPLATE", value: "{{ .Prompt }}" })
  const counting = `{% for m in messages %}{{ loop.index }}{{ m.content }}{% endfor %}`
  const odd = await written({ chat_template: counting })
  expect(odd.names.map(({ name }) => name)).toEqual(["FROM", "PARAMETER num_ctx", "PARAMETER stop"])
  expect(odd.notes).toEqual([expect.stringMatching(/more than Ollama's templates can say/)])
})

const hasGo = spawnSync("go", ["version"]).status === 0
const found = hasGo ? "go" : "absent: no Go, so the templates are not run"

describe.skipIf(!hasGo)(`run by Go's text/template, as Ollama does (${found})`, () => {
  let binary: string
  beforeAll(() => {
    binary = join(newFolder(), "render")
    const env = { ...process.env, GO111MODULE: "off", GOFLAGS: "" }
    execFileSync("go", ["build", "-o", binary, join(ROOT, "test/export/render.go")], { env })
  }, 300_000) // the first build compiles Go's own packages

  const rendered = (turns: Turns, bos: string | null, messages: readonly ChatMessage[]): string =>
    execFileSync(binary, {
      input: JSON.stringify({ template: goTemplate(turns, { bos }), messages }),
      encoding: "utf8",
    })

  const says = (role: string, content: string): ChatMessage => ({ role, content })
  const conversations: readonly (readonly ChatMessage[])[] = [
    [says("user", "Hi {{ .System }}")],
    [says("system", "Be\nbrief."), says("user", "a")],
    [says("user", "a"), says("assistant", 'b "c"'), says("user", "d")],
    [
      says("system", "s"),
      says("user", "a"),
      says("assistant", "b"),
      says("user", "c"),
      says("assistant", "d"),
      says("user", "é"),
    ],
  ]

  test.each([
    ["ChatML with words of its own", CHATML],
    [
      "braces",
      `{% for m in messages %}{{ '{{{' }}{{ m.content }}{{ '}} {' }}{% endfor %}{% if add_generation_prompt %}{{ '{{{' }}{% endif %}`,
    ],
  ])("%s", async (_, source) => {
    const jinja = await template(source)
    const turns = turnsOf(jinja)!
    for (const messages of conversations) {
      expect(rendered(turns, null, messages)).toBe(
        jinja.render(messages, { addGenerationPrompt: true }),
      )
    }
  })

  test("an answer at the end is left open", async () => {
    const turns = turnsOf(await template(CHATML))!
    const text = rendered(turns, null, [says("user", "a"), says("assistant", "b")])
    expect(text.endsWith("<|im_start|>assistant\nb")).toBe(true)
  })

  test.runIf(hasData)(
    "the templates of real models: rendered the same, or not taken apart",
    async () => {
      const files = readdirSync(`${DATA}chat_templates`).filter((name) => name.endsWith(".jinja"))
      const folder = newFolder()
      writeLetterTokenizer(folder)
      const apart: string[] = []
      for (const file of files) {
        const jinja = (await loadChatTemplate(folder, {
          file: `${DATA}chat_templates/${file}`,
        }))!
        const turns = turnsOf(jinja)
        if (turns === undefined) continue
        apart.push(file.replace(/\.jinja$/, ""))
        const bos = "<s>"
        for (const messages of conversations) {
          if (turns.system === null && messages[0]!.role === "system") continue
          const meant = jinja.render(messages, { addGenerationPrompt: true })
          const begins = meant.startsWith(bos) ? bos : ""
          expect(begins + rendered(turns, bos, messages), file).toBe(meant)
        }
      }
      expect(apart.sort()).toMatchInlineSnapshot(`
        [
          "deepseek-coder-instruct.from-tokenizer-config",
          "llama-3-instruct.from-tokenizer-config",
          "llama-3.2-instruct.from-tokenizer-config",
          "qwen2.5-instruct",
          "qwen2.5-instruct.from-tokenizer-config",
          "qwen2.5-math.from-tokenizer-config",
          "qwen3.from-tokenizer-config",
        ]
      `)
    },
  )
})
