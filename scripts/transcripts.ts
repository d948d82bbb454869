/**
 * Makes the transcripts of docs/getting-started.md anew, from a real run of the demo's model in a
 * pseudo-terminal:
 *
 *     npx tsx scripts/transcripts.ts
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { commandOnPath } from "./command-on-path.ts"
import { DEMO_MODEL, writeSumRows } from "./sum-rows.ts"
import { openSession, type Session } from "./terminal-session.ts"
import { lineOf, TRANSCRIPT_STEPS, type TranscriptStep } from "./transcript-steps.ts"

const PAGE = fileURLToPath(new URL("../docs/getting-started.md", import.meta.url))
export const BEGIN = "<!-- made by scripts/transcripts.ts -->"
export const END = "<!-- end of what scripts/transcripts.ts made -->"
const ROWS = 160

/** What a user does at the keyboard, where a step waits for one. */
const KEYS: { readonly [Name in TranscriptStep["name"]]?: (session: Session) => Promise<void> } = {
  train: async (session) => {
    await session.until(/step [3-9]\/\d+/, 300)
    session.type("\x03")
  },
  chat: async (session) => {
    await session.until(/>$/m)
    session.type("calc 3 + 4\r")
    await session.until(/calc 3 \+ 4\s+\S[\s\S]*>$/m, 120)
    session.type("/exit\r")
  },
}

/** The end of a long screen tells more than its middle. */
function shortened(screen: string): string {
  const lines = screen.split("\n").map((line) => line.trimEnd())
  if (lines.length <= 25) return lines.join("\n")
  return [...lines.slice(0, 5), "...", ...lines.slice(-18)].join("\n")
}

async function transcripts(folder: string): Promise<string> {
  const env = { PATH: commandOnPath(join(folder, "bin")), HOME: folder, TERM: "xterm-256color" }
  cpSync(DEMO_MODEL, join(folder, "base"), { recursive: true })
  writeSumRows(folder, ROWS)
  let before = ""
  const blocks: string[] = []
  for (const step of TRANSCRIPT_STEPS) {
    const line = lineOf(step, before)
    // without colours preview puts brackets around what is trained, which a page can show
    const plain = step.name === "preview" ? { NO_COLOR: "1" } : {}
    const session = await openSession(line, { cwd: folder, env: { ...env, ...plain } })
    await KEYS[step.name]?.(session)
    await session.ended
    const screen = session.screen()
    before += `\n${screen}`
    const here = shortened(screen).replaceAll(folder, "/home/you/sums")
    blocks.push(`\`\`\`console\n$ ${line}\n${here}\n\`\`\``)
    console.error(`${step.name}: ${line}`)
  }
  return blocks.join("\n\n")
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const folder = mkdtempSync(join(tmpdir(), "dftune-transcripts-"))
  try {
    const made = await transcripts(folder)
    const page = readFileSync(PAGE, "utf8")
    const [head, rest] = page.split(BEGIN)
    const tail = rest?.split(END)[1]
    if (tail === undefined) throw new Error(`${PAGE}: no place for transcripts`)
    writeFileSync(PAGE, `${head}${BEGIN}\n\n${made}\n\n${END}${tail}`)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
