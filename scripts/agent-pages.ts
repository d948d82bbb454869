/**
 * Writes llms.txt and AGENTS.md, for coding agents that use dftune, from the code: verbs from the
 * command line's table, settings from the schema, events and files from their pages.
 *
 *     npx tsx scripts/agent-pages.ts
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { configJsonSchema, OBJECTIVES } from "../src/config/index.ts"
import { definitionOf } from "../src/objectives/index.ts"
import { RUN_FILES } from "../src/run/run-files.ts"

const ROOT = fileURLToPath(new URL("..", import.meta.url))
const text = (path: string) => readFileSync(`${ROOT}${path}`, "utf8")

/** Names and summaries of the verbs, as main.ts has them. */
function verbs(): { name: string; summary: string }[] {
  const rows = text("src/commands/main.ts").matchAll(
    /name: "([\w-]+)",\s*summary:\s*"((?:[^"\\]|\\.)*)"/g,
  )
  return [...rows].map(([, name, summary]) => ({ name: name!, summary: summary! }))
}

interface Property {
  readonly description?: string
  readonly default?: unknown
}

function settings(): string[] {
  const { properties } = configJsonSchema() as { properties: Record<string, Property> }
  return Object.entries(properties).map(([key, { description = "", default: value }]) => {
    const fallback = value === undefined ? "" : ` Default: \`${JSON.stringify(value)}\`.`
    return `- \`${key}\`: ${description}${fallback}`
  })
}

const objectives = () => OBJECTIVES.map((name) => `- \`${name}\`: ${definitionOf(name)!.formula}`)

/** The table of events, which a test holds to the code's type. */
function events(): string {
  const page = text("docs/events.md")
  return page.slice(page.indexOf("## Events")).trim()
}

export function agentsPage(): string {
  return `# dftune for coding agents

dftune fine-tunes Hugging Face language models from Node, without Python: \`npm install dftune\`, then \`npx dftune\`. This page is made from the code (\`npx tsx scripts/agent-pages.ts\`).

## Rules

- Results are on stdout, words on stderr. \`--json\` prints one JSON document, or one object a line, and nothing else.
- Exit codes: 0 done, 1 the run failed, 2 the command, config or data is wrong (the message says file, line and key), 130 interrupted after a checkpoint.
- Look at the rows before training: \`dftune preview dftune.yaml --json\` has \`loss_mask\` a token. What a run would do: \`dftune train dftune.yaml --dry-run --json\`.
- A run never writes over another: give \`--set output_dir=...\`, \`--resume\` or \`--overwrite\`.
- Compare \`nll\` and \`mean_p\` between runs, never \`loss\`: each objective's is another quantity.

## Verbs

${verbs()
  .map(({ name, summary }) => `- \`dftune ${name}\`: ${summary}`)
  .join("\n")}

\`dftune VERB --help\` has the options.

## Config

A YAML, JSON or TypeScript file; \`dftune config schema\` prints its JSON Schema. The smallest: \`model: FOLDER_OR_HUB_ID\` and \`data: { train: FILE }\`.

${settings().join("\n")}

## Objectives

c = -ln p, sg = stop-gradient.

${objectives().join("\n")}

## A run folder

${Object.values(RUN_FILES)
  .map((name) => `- \`${name}\``)
  .join("\n")}

${events()}
`
}

export function llmsText(): string {
  const pages = readdirSync(`${ROOT}docs`).filter(
    (name) => name.endsWith(".md") && name !== "log.md",
  )
  const title = (name: string) => /^# (.*)$/m.exec(text(`docs/${name}`))![1]
  return `# dftune

> A language-model fine-tuner in TypeScript around Dynamic Fine-Tuning (arXiv 2508.05629): trains Hugging Face checkpoints from npm alone, on a CPU, in a browser, or on GPUs through PyTorch.

- [For coding agents](AGENTS.md): verbs, config, objectives, events
- [README](README.md)

## Pages

${pages.map((name) => `- [${title(name)}](docs/${name})`).join("\n")}
`
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(`${ROOT}AGENTS.md`, agentsPage())
  writeFileSync(`${ROOT}llms.txt`, llmsText())
}
