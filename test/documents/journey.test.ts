/**
 * A new user's first hour in a pseudo-terminal: every command after the first is one that dftune
 * printed, run as it stands. On the demo's model; on a real one where DFTUNE_REAL_MODELS names a
 * folder with `smollm2`.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { parse as parseYaml } from "yaml"
import { commandOnPath } from "../../scripts/command-on-path.ts"
import { DEMO_MODEL, writeSumRows } from "../../scripts/sum-rows.ts"
import { noTerminal, openSession, type Session } from "../../scripts/terminal-session.ts"
import { TRANSCRIPT_STEPS, type TranscriptStep } from "../../scripts/transcript-steps.ts"

const absent = await noTerminal()
const why = absent === undefined ? "" : ` (absent: a pseudo-terminal: ${absent})`
const REAL = join(process.env.DFTUNE_REAL_MODELS ?? "/", "smollm2")

/** What docs/getting-started.md shows of a step stands on the screen. */
function showsAsTheDocs(name: TranscriptStep["name"], screen: string): void {
  for (const pattern of TRANSCRIPT_STEPS.find((step) => step.name === name)!.shows) {
    expect(screen).toMatch(pattern)
  }
}

const JOURNEYS = [
  { name: `the demo's model${why}`, model: DEMO_MODEL, rows: 40, there: absent === undefined },
  {
    name: `SmolLM2${existsSync(REAL) ? why : " (absent: no smollm2 in DFTUNE_REAL_MODELS)"}`,
    model: REAL,
    rows: 40,
    there: absent === undefined && existsSync(REAL),
  },
]

describe.skipIf(process.platform === "win32").each(JOURNEYS)("$name", ({ model, rows, there }) => {
  let folder: string
  let env: Record<string, string>
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "dftune-journey-"))
    env = { PATH: commandOnPath(join(folder, "bin")), HOME: folder, TERM: "xterm-256color" }
    writeSumRows(folder, rows)
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  /** Runs a line to its end; the whole screen. */
  async function typed(
    line: string,
    { code = 0, use }: { code?: number; use?: (session: Session) => Promise<void> } = {},
  ): Promise<string> {
    const session = await openSession(line, { cwd: folder, env })
    await use?.(session)
    const end = await session.ended
    expect(end.code, session.screen()).toBe(code)
    return session.screen()
  }
  /** The command that the screen shows for `pattern`. */
  const shown = (screen: string, pattern: RegExp): string => {
    const found = pattern.exec(screen)
    expect(found, screen).not.toBeNull()
    return found![1]!.trim()
  }

  let next: { preview: string; train: string; resume: string; after: string }
  test.runIf(there)("init asks, looks at each answer, and names the next commands", async () => {
    const screen = await typed("dftune init --lora", {
      use: async (session) => {
        await session.until(/Model.*\]/)
        session.type("./nowhere\r")
        await session.until(/\.\/nowhere: no such folder[\s\S]*Model.*\]/)
        session.type(`${model}\r`)
        await session.until(/Training rows.*\]/)
        session.type("rows.jsonl\r")
        await session.until(/rows\.jsonl: no such file[\s\S]*Training rows.*\]/)
        session.type("\r")
        await session.until(/Objective.*\]/)
        session.type("dtf\r")
        await session.until(/did you mean "dft"[\s\S]*Objective.*\]/)
        session.type("\r")
      },
    })
    showsAsTheDocs("init", screen)
    expect(screen).not.toMatch(/looking at|asking the model/)
    const [, preview, train] = /next: (dftune preview .*), then (dftune train .*)/.exec(screen)!
    next = { preview: preview!, train: train!, resume: "", after: "" }
  })

  test.runIf(there)(
    "init asks for columns of other names; Ctrl-D and Ctrl-C end it plainly",
    async () => {
      const rows = Array.from({ length: 40 }, (_, i) => `${i};calc ${i} + 1;"${i} + 1 =\n${i + 1}"`)
      writeFileSync(
        join(folder, "other.csv"),
        ["Nr;Frage, bitte;Beste Antwort", ...rows].join("\n"),
      )
      for (const key of ["\x03", "\x04"]) {
        const ended = await typed("dftune init ended", {
          code: 130,
          use: async (session) => {
            await session.until(/Model.*\]/)
            session.type(key)
          },
        })
        expect(ended).toMatch(/interrupted\s*$/)
        expect(ended).not.toMatch(/ at |AbortError/)
      }
      await typed(`dftune init other --model ${model} --lora --objective sft`, {
        use: async (session) => {
          await session.until(/Training rows.*\]/)
          session.type("other.csv\r")
          await session.until(/"Frage, bitte"[\s\S]*Which column is the question\?.*\]/)
          session.type("Frage\r")
          await session.until(/Which column is the answer\?.*\]/)
          session.type("Beste Antwort\r")
          await session.until(/expected a column "Frage"[\s\S]*Which column is the question\?.*\]/)
          session.type("Frage, bitte\r")
          await session.until(/Which column is the answer\?.*\]/)
          session.type("Beste Antwort\r")
        },
      })
      const { data } = parseYaml(readFileSync(join(folder, "other", "dftune.yaml"), "utf8"))
      const columns = { question: "Frage, bitte", answer: "Beste Antwort" }
      expect(data).toMatchObject({ train: "../other.csv", columns })
    },
  )

  test.runIf(there)(
    "preview shows the rows, and probe what they would cost",
    async () => {
      const preview = await typed(next.preview)
      showsAsTheDocs("preview", preview)
      const probe = await typed(`${next.train.replace("train", "probe")} --set max_steps=4`)
      expect(probe).toMatch(/suits +(dft|sft|either)/)
      expect(probe).toMatch(/estimate: 4 steps in .*, .* of memory/)
    },
    300_000,
  )

  test.runIf(there)(
    "Ctrl-C ends train with the command that goes on, and it does",
    async () => {
      const screen = await typed(`${next.train} --set max_steps=6 "generate_samples=null"`, {
        code: 130,
        use: async (session) => {
          await session.until(/step [2-5]\/6/, 240)
          session.type("\x03")
        },
      })
      expect(screen).toMatch(/rows, .* tokens trained; 6 steps of \d+ rows; memory about/)
      expect(screen).toContain("stopping with a checkpoint; Ctrl-C again stops now")
      const resume = shown(screen, /to go on:\s+(dftune train .*--resume)/)
      expect(resume).toContain("max_steps=6")
      const after = await typed(resume)
      showsAsTheDocs("resume", after)
      expect(after).toMatch(/step 6\/6/)
      expect(after.match(/runs\/my-run\/model/g), after).toHaveLength(1)
      next = { ...next, resume, after }
    },
    600_000,
  )

  test.runIf(there)("the report is where the last lines say", () => {
    const report = shown(next.after, /^report +(file:\S+)/m)
    expect(readFileSync(fileURLToPath(report), "utf8")).toMatch(/<html/)
  })

  test.runIf(there)(
    "chat answers",
    async () => {
      const screen = await typed(shown(next.after, /^chat +(dftune .*)/m), {
        use: async (session) => {
          await session.until(/>$/m)
          session.type("calc 3 + 4\r")
          await session.until(/calc 3 \+ 4\s+\S[\s\S]*>$/m, 240)
          session.type("/exit\r")
        },
      })
      expect(screen).toMatch(/3 \+ 4\n.*\d/)
    },
    300_000,
  )

  test.runIf(there)(
    "the run is set beside its base",
    async () => {
      const screen = await typed(shown(next.after, /^compare +(dftune .*)/m))
      showsAsTheDocs("compare", screen)
    },
    300_000,
  )

  test.runIf(there)(
    "export writes a model, and says what it keeps",
    async () => {
      const screen = await typed(shown(next.after, /^export +(dftune [^(]*)/m))
      showsAsTheDocs("export", screen)
      const out = screen.trim().split("\n").at(-1)!
      expect(existsSync(join(folder, out, "model.safetensors"))).toBe(true)
    },
    300_000,
  )
})
