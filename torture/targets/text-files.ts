/** Tokenizers, chat templates and the small files beside them. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { readLayout } from "../../src/data/index.ts"
import { parseExactJson } from "../../src/formats/exact-json.ts"
import { loadChatTemplate, loadTokenizer, stopTokenIds } from "../../src/text/index.ts"
import { jinjaTemplate } from "../../src/text/jinja/template.ts"
import { tinyModel } from "../../test/train/tiny-model.ts"
import { mutatedBytes, mutatedJsonFile } from "../mutate.ts"
import { CONVERSATION, copied, fileOf, golden, inRepo, type Targets } from "./target.ts"

const TEXT = "once upon a time, 12+34=46\n  Été <s> ok"

async function encodeAndDecode(folder: string): Promise<void> {
  const tokenizer = await loadTokenizer(folder)
  const ids = tokenizer.encode(TEXT, { addSpecialTokens: true })
  tokenizer.decode(ids)
  for (const id of ids) tokenizer.tokenText(id)
}

/** Every kind of part that a tokenizer.json of a language model has. */
function manyParts(tokenizer: Record<string, unknown>): Record<string, unknown> {
  const special = { id: "<s>", ids: [1], tokens: ["<s>"] }
  const piece = (type: string, more: object = {}) => ({ type, ...more })
  return {
    ...tokenizer,
    normalizer: piece("Sequence", {
      normalizers: [
        piece("NFKC"),
        piece("Replace", { pattern: { Regex: " {2,}" }, content: " " }),
        piece("Prepend", { prepend: "a" }),
        piece("Lowercase"),
      ],
    }),
    pre_tokenizer: piece("Sequence", {
      pretokenizers: [
        piece("Split", {
          pattern: { Regex: "\\p{N}{1,3}|[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+|\\p{L}+" },
          behavior: "Isolated",
          invert: false,
        }),
        piece("Digits", { individual_digits: true }),
      ],
    }),
    post_processor: piece("TemplateProcessing", {
      single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
      pair: [{ Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 1 } }],
      special_tokens: { "<s>": special },
    }),
    decoder: piece("Sequence", {
      decoders: [
        piece("Replace", { pattern: { String: "_" }, content: " " }),
        piece("ByteFallback"),
        piece("Fuse"),
        piece("Strip", { content: " ", start: 1, stop: 0 }),
      ],
    }),
  }
}

/** Where a template's memory and time go, if nothing bounds it. */
const GROWING = [
  "{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x ~ 'ab' %}{% endfor %}",
  "{% for i in range(40) %}{% set ns.x = ns.x | replace('a', 'aaaa') %}{% endfor %}",
  "{{ 'x' * 1000000000 }}",
  "{% for i in range(99999) %}{% for k in range(99999) %}x{% endfor %}{% endfor %}",
  "{{ range(100000000) | list | length }}",
  "{% macro f(x) %}{{ f(x ~ x) }}{% endmacro %}{{ f('a') }}",
  "{{ messages | tojson(indent=99999999) }}",
  "{{ '%099999999d' % 5 }}{{ 'a'.center(999999999) }}{{ 'a'.ljust(2147483647) }}",
  "{% set l = [1] %}{% for i in range(70) %}{% set l = l + l %}{% endfor %}{{ l | length }}",
  "{{ 9 ** 9 ** 9 }}{{ 2 ** 99999999 }}",
  "{{ ('a,' * 99999).split(',') | sort | join(',' * 9999) }}",
]

const OWN =
  "{%- set ns = namespace(x='') -%}{%- for m in messages -%}<|{{ m.role }}|>\n" +
  "{{ m.content | trim | replace('\\t', ' ') }}{%- if m.tool_calls %}{{ m.tool_calls | tojson(indent=2) }}" +
  "{%- endif %}{{ eos_token }}\n{%- set ns.x = ns.x ~ m.role[:1] -%}" +
  "{%- if loop.last and ns.x != 'q' %}{{ '' if range(3) | list | length == 3 else 'no' }}{%- endif -%}" +
  "{%- endfor -%}{%- if add_generation_prompt %}<|assistant|>\n{%- endif -%}"

/** Published templates: those in golden/, and the shared ones where they are. */
function published(): string[] {
  const blocks = JSON.parse(readFileSync(golden("text/generation_blocks.json"), "utf8"))
  const own = (blocks as { template: string }[]).map(({ template }) => template)
  const folder = inRepo("../shared/data/chat_templates")
  const shared = existsSync(folder)
    ? readdirSync(folder)
        .filter((name) => name.endsWith(".jinja"))
        .map((name) => readFileSync(join(folder, name), "utf8"))
    : []
  return [...new Set([...own, ...shared])]
}

const partsOf = (template: string) => template.split(/(\{[%{].*?[%}]\})/s)

export const TEXT_FILES: Targets = {
  "tokenizer.json"(work) {
    const tiny = tinyModel(work)
    const demo = copied(inRepo("demo/model"), work, "demo")
    const many = copied(tiny, work, "many")
    const path = join(many, "tokenizer.json")
    writeFileSync(path, JSON.stringify(manyParts(JSON.parse(readFileSync(path, "utf8")))))
    const targets = [tiny, demo, many, many].map((folder) =>
      fileOf(folder, "tokenizer.json", () => encodeAndDecode(folder)),
    )
    return (draw) => draw.of(targets)(draw)
  },
  "tokenizer_config.json"(work) {
    const folder = copied(golden("0.1.0/model"), work, "t")
    return fileOf(folder, "tokenizer_config.json", async () => {
      await loadTokenizer(folder)
      const template = await loadChatTemplate(folder)
      template?.renderWithSpans(CONVERSATION)
    })
  },
  "small model files"(work) {
    const folder = copied(inRepo("demo/model"), work, "small")
    const layout = { version: 1, layout: { template: "auto", columns: { prompt: "q" }, rows: [] } }
    const bases = {
      "generation_config.json": JSON.parse(
        readFileSync(join(folder, "generation_config.json"), "utf8"),
      ) as unknown,
      "dftune.json": layout,
      "special_tokens_map.json": {
        eos_token: { content: "</s>", lstrip: false },
        bos_token: "<s>",
      },
    }
    return async (draw) => {
      const name = draw.of(Object.keys(bases)) as keyof typeof bases
      const text = Buffer.from(JSON.stringify(bases[name]))
      for (const [other, value] of Object.entries(bases)) {
        writeFileSync(join(folder, other), JSON.stringify(value))
      }
      writeFileSync(join(folder, name), mutatedJsonFile(text, bases[name], draw))
      await readLayout(folder)
      const tokenizer = await loadTokenizer(folder)
      await stopTokenIds(folder, tokenizer)
    }
  },
  template(work) {
    const folder = copied(golden("0.1.0/model"), work, "j")
    const path = join(folder, "chat_template.jinja")
    const own = partsOf(OWN)
    const others = published().map(partsOf)
    return async (draw) => {
      const base = draw.still || draw() < 0.5 ? own : draw.of(others)
      const mutated = [...base]
      const changes = draw.still ? 0 : 1 + draw.whole(3)
      for (let n = changes; n > 0; n--) {
        // one runs until its budget is spent, most of a second
        const put = draw() < 0.03 ? draw.of(GROWING) : draw.of([...base, ...own])
        mutated.splice(draw.whole(mutated.length), draw.whole(2), put)
      }
      const text = mutated.join("")
      writeFileSync(path, draw() < 0.7 ? text : mutatedBytes(Buffer.from(text), draw))
      const template = await loadChatTemplate(folder)
      template?.renderWithSpans(CONVERSATION)
    }
  },
  "template expressions"() {
    const file = readFileSync(golden("text/jinja.json"), "utf8")
    const { cases, variables } = parseExactJson(file) as {
      cases: { template: string }[]
      variables: Record<string, unknown>
    }
    const sources = cases.map(({ template }) => template)
    return (draw) => {
      const parts = [draw.of(sources), ...(draw() < 0.4 ? [draw.of(sources)] : [])]
      if (draw() < 0.2) parts.push(draw.of(GROWING))
      const source = draw.still ? "{{ text.strip() }}" : parts.join("")
      const mutated = draw() < 0.8 ? mutatedBytes(Buffer.from(source), draw) : source
      jinjaTemplate(mutated.toString("utf8")).render(variables)
    }
  },
}
