/** Suites by hub id, from parquet files with the columns that the hub has (golden/suites.py). */
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import type { Server } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, expect, test } from "vitest"
import type { ProgramGold } from "../../src/evaluate/judges/programs.ts"
import { openSuite } from "../../src/evaluate/suites/index.ts"
import { type HubState, hubServer } from "../hub/hub-server.ts"

const parquet = (name: string) =>
  readFileSync(fileURLToPath(new URL(`../../golden/suites/${name}.parquet`, import.meta.url)))

const state: HubState = {
  repos: {
    "google-research-datasets/mbpp": {
      files: {
        "full/test/0000.parquet": Buffer.from("not asked for"),
        "sanitized/train/0000.parquet": Buffer.from("not asked for"),
        "sanitized/test/0000.parquet": parquet("mbpp"),
      },
    },
    "ChilleD/SVAMP": { files: { "default/test/0000.parquet": parquet("svamp") } },
    "MU-NLPC/Calc-mawps": { files: { "default/test/0000.parquet": parquet("mawps") } },
    "openai/gsm8k": { files: { "socratic/test/0000.parquet": Buffer.from("not asked for") } },
  },
  requests: [],
  cutAfter: undefined,
}
const before = { ...process.env }
const home = mkdtempSync(join(tmpdir(), "dftune-hub-suites-"))
let server: Server

beforeAll(async () => {
  const made = await hubServer(state)
  server = made.server
  Object.assign(process.env, { HF_ENDPOINT: made.url, HF_HOME: home, HF_HUB_CACHE: "" })
  delete process.env.HF_HUB_CACHE
  delete process.env.HF_HUB_OFFLINE
})
afterAll(() => {
  process.env = before
  server.close()
  rmSync(home, { recursive: true, force: true })
})

test.each(["mbpp", "google-research-datasets/mbpp"])("%s", async (id) => {
  const { name, judge, problems } = await openSuite(id, {})
  expect([name, judge, problems.map((one) => one.id)]).toEqual([
    "mbpp",
    "programs",
    ["mbpp/9001", "mbpp/9002"],
  ])
  const golds = problems.map(({ gold }) => JSON.parse(gold) as ProgramGold)
  expect(golds.map(({ entry }) => entry)).toEqual(["halves", "turned"])
  expect(golds[0]!.setup).toContain("import math")
  expect(golds[0]!.tests.split("\n")).toHaveLength(3)
  expect(problems[1]!.problem).toContain("assert turned('abc') == 'cba'")
})

test.each(["svamp", "ChilleD/SVAMP", "chilled/svamp"])("%s", async (id) => {
  const { problems } = await openSuite(id, {})
  expect(problems).toEqual([
    {
      id: "chal-9001",
      problem: "Ann has 7 pens and gives 3 away. How many pens has she left?",
      gold: "4.0",
    },
  ])
})

test.each(["mawps", "MU-NLPC/Calc-mawps"])("%s", async (id) => {
  const { problems } = await openSuite(id, {})
  expect(problems.map(({ gold }) => gold)).toEqual(["2400"])
})

test.each([
  ["ChilleD/SVAMPP", /suite ChilleD\/SVAMPP: no such suite or file; did you mean "ChilleD\/SVAMP"/],
  ["nobody/nothing", /suite nobody\/nothing: no such suite or file; suites are gsm8k, /],
  ["math500", /HuggingFaceH4\/MATH-500: .*(no such|not found|404)/i],
  ["gsm8k", /openai\/gsm8k: no configuration "main"; it has socratic/],
])("what is missing is said: %s", async (id, message) => {
  await expect(openSuite(id, {})).rejects.toThrow(message)
})
