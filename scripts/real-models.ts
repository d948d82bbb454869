/**
 * Makes docs/real-models.md anew: a real model, fine-tuned from init to a GGUF file that llama.cpp
 * reads, in a pseudo-terminal:
 *
 *     npx tsx scripts/real-models.ts MODELS LLAMA [NAME...]
 *
 * MODELS holds a folder of each NAME (left out: smollm2), whose section the page has; LLAMA is
 * where node-llama-cpp was installed (docs/export.md).
 */
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import { commandOnPath } from "./command-on-path.ts"
import { openSession, type Session } from "./terminal-session.ts"

const PAGE = fileURLToPath(new URL("../docs/real-models.md", import.meta.url))
const READER = fileURLToPath(new URL("./read-gguf.mjs", import.meta.url))
const ASKED = "How many minutes are 13 hours?"

/** 32 conversions of units in one fixed style. */
function writeRows(folder: string): void {
  const units = [
    { large: "hours", small: "minutes", factor: 60 },
    { large: "days", small: "hours", factor: 24 },
    { large: "weeks", small: "days", factor: 7 },
    { large: "years", small: "months", factor: 12 },
  ]
  const rows = Array.from({ length: 32 }, (_, i) => {
    const { large, small, factor } = units[i % units.length]!
    const count = 2 + Math.floor(i / units.length)
    return {
      question: `How many ${small} are ${count} ${large}?`,
      answer: `${count} ${large} x ${factor} = ${count * factor} ${small}.`,
    }
  })
  const text = rows.map((row) => JSON.stringify(row)).join("\n")
  writeFileSync(join(folder, "train.jsonl"), `${text}\n`)
}

interface Step {
  /** What is typed, given the screen before it. */
  readonly line: (before: string) => string
  readonly keys?: (session: Session) => Promise<void>
  /** Lines of the screen's beginning and end that the page shows. */
  readonly shown: readonly [number, number]
}

const chat = async (session: Session) => {
  await session.until(/>\s*$/m, 300)
  session.type(`${ASKED}\r`)
  await session.until(/13 hours\?\s+\S[\s\S]*>\s*$/m, 300)
  session.type("/exit\r")
}

/** The probe finds up to a third of the targets below 0.1, a form that DFT would leave: so SFT. */
const SETTINGS = {
  ...{ objective: "sft", batch_size: 8, max_steps: 12, "data.max_length": 128 },
  generate_samples: null,
}
const set = Object.entries(SETTINGS).map(([key, value]) => `--set ${key}=${value}`)

const steps = (model: string): Step[] => [
  {
    line: () => `dftune init --yes --model ${model} --train train.jsonl --lora`,
    shown: [4, 12],
  },
  { line: () => "dftune preview dftune.yaml -n 2", shown: [14, 4] },
  { line: () => "dftune probe dftune.yaml", shown: [12, 6] },
  { line: () => `dftune train dftune.yaml ${set.join(" ")}`, shown: [4, 12] },
  {
    line: () => "dftune chat runs/my-run --temperature 0 --max-new-tokens 48",
    keys: chat,
    shown: [12, 6],
  },
  { line: () => "dftune export runs/my-run --to gguf", shown: [4, 6] },
  {
    line: (before) =>
      `node read-gguf.mjs runs/my-run/export/gguf/${before.match(/\S+\.gguf/)?.[0]} "${ASKED}"`,
    shown: [8, 4],
  },
]

function shortened(screen: string, [first, last]: readonly [number, number]): string {
  const lines = screen.split("\n").map((line) => line.trimEnd())
  if (lines.length <= first + last + 1) return lines.join("\n")
  return [...lines.slice(0, first), "...", ...lines.slice(-last)].join("\n")
}

/** All steps of a model, as a page shows them. */
async function transcript(folder: string, model: string, llama: string): Promise<string> {
  const env = {
    ...{ HOME: folder, TERM: "xterm-256color", NO_COLOR: "1", NODE_LLAMA_CPP: llama },
    PATH: commandOnPath(join(folder, "bin")),
  }
  const blocks: string[] = []
  let before = ""
  for (const step of steps(model)) {
    const { keys, shown } = step
    const line = step.line(before)
    const session = await openSession(line, { cwd: folder, env })
    await keys?.(session)
    const { code } = await session.ended
    const screen = session.screen()
    before = screen
    if (code !== 0) throw new Error(`${line}: ended with ${code}\n${screen}`)
    const here = shortened(screen, shown).replaceAll(folder, "/home/you/units")
    blocks.push(`\`\`\`console\n$ ${line}\n${here}\n\`\`\``)
    console.error(`${model}: ${line}\n${screen}\n`)
  }
  return blocks.join("\n\n")
}

async function made(name: string, models: string, llama: string): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "dftune-real-"))
  try {
    symlinkSync(resolve(models, name), join(folder, name))
    symlinkSync(READER, join(folder, "read-gguf.mjs"))
    writeRows(folder)
    return await transcript(folder, name, resolve(llama))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Puts a model's transcript in its place on the page. */
function place(name: string, text: string): void {
  const [begin, end] = [
    `<!-- ${name}: made by scripts/real-models.ts -->`,
    `<!-- end of ${name} -->`,
  ]
  const page = readFileSync(PAGE, "utf8")
  const [head, rest] = page.split(begin)
  const tail = rest?.split(end)[1]
  if (tail === undefined) throw new Error(`${PAGE}: no place for ${name}`)
  writeFileSync(PAGE, `${head}${begin}\n\n${text}\n\n${end}${tail}`)
}

const [models, llama, ...wanted] = process.argv.slice(2)
if (!models || !llama)
  throw new Error("usage: npx tsx scripts/real-models.ts MODELS LLAMA [NAME...]")
for (const name of wanted.length > 0 ? wanted : ["smollm2"]) {
  place(name, await made(name, models, llama))
}
