/** docs/getting-started.md's transcripts are of today's commands, in the order of a user's way. */
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { expect, test } from "vitest"
import { lineOf, TRANSCRIPT_STEPS } from "../../scripts/transcript-steps.ts"
import { BEGIN, END } from "../../scripts/transcripts.ts"

const PAGE = fileURLToPath(new URL("../../docs/getting-started.md", import.meta.url))
const hint = "run npx tsx scripts/transcripts.ts"

test("each step's transcript is there, begins with its command, and shows what the step shows", () => {
  const made = readFileSync(PAGE, "utf8").split(BEGIN)[1]!.split(END)[0]!
  const blocks = [...made.matchAll(/^```console\n\$ (.*)\n([\s\S]*?)^```/gm)]
  expect(blocks, hint).toHaveLength(TRANSCRIPT_STEPS.length)
  let before = ""
  for (const [i, step] of TRANSCRIPT_STEPS.entries()) {
    const [, line, screen] = blocks[i]!
    expect(line, hint).toBe(lineOf(step, before))
    for (const pattern of step.shows) {
      expect(screen!.trim(), `${step.name}: ${hint}`).toMatch(pattern)
    }
    expect(screen, "a folder of the machine it was made on").not.toMatch(/\/tmp\/|dftune-transcr/)
    before += `\n${screen}`
  }
})
