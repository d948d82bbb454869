import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test, vi } from "vitest"
import { importOwnModule } from "../../src/host/own-module.ts"
import {
  openScoring,
  type RewardSettings,
  rewardLabels,
  rewardProblems,
  rowProblem,
} from "../../src/rewards/index.ts"

const root = mkdtempSync(join(tmpdir(), "dftune-rewards-"))
afterAll(() => rmSync(root, { recursive: true, force: true }))

const sample = (completion: string, more: object = {}) => ({
  prompt: "6 * 7?",
  completion,
  token_ids: [...completion].map((c) => c.charCodeAt(0)),
  finish_reason: "stop",
  row: { answer: "42" },
  where: "prompts.jsonl:3",
  ...more,
})

async function scored(
  settings: Partial<RewardSettings>[],
  samples: readonly ReturnType<typeof sample>[],
) {
  const all = settings.map((one) => ({ weight: 1, ...one }))
  const scoring = openScoring(all, { maxNewTokens: 10 })
  try {
    return await scoring.score(samples)
  } finally {
    await scoring.close()
  }
}
const of = async (settings: Partial<RewardSettings>, ...completions: string[]) =>
  (
    await scored(
      [settings],
      completions.map((text) => sample(text)),
    )
  ).map(({ reward }) => reward)

test("math: the grader's verdict against the row's gold answer", async () => {
  const said = ["The answer is 42.", "\\boxed{41}", "no number"]
  expect(await of({ name: "math" }, ...said)).toEqual([1, 0, 0])
  expect(await of({ name: "math", mode: "strict" }, "so 42", "\\boxed{42.0}")).toEqual([0, 1])
})

test("format: one box, or a pattern", async () => {
  const texts = ["\\boxed{1}", "\\boxed{1} \\boxed{2}", "1", "\\boxed{}"]
  expect(await of({ name: "format" }, ...texts)).toEqual([1, 0, 0, 0])
  expect(await of({ name: "format", pattern: "^<think>" }, "<think>", "think")).toEqual([1, 0])
})

test("overlong: nothing up to L - b, then falling to -1 at L", async () => {
  const lengths = [1, 8, 9, 10].map((n) => "x".repeat(n))
  expect(await of({ name: "overlong" }, ...lengths)).toEqual([0, 0, -0.5, -1])
  expect(await of({ name: "overlong", buffer: 5 }, ...lengths)).toEqual([0, -0.6, -0.8, -1])
})

test("repetition: minus the share of n-grams seen before", async () => {
  expect(await of({ name: "repetition" }, "abcdef", "aaaaa", "ab")).toEqual([
    0,
    expect.closeTo(-2 / 3, 12),
    0,
  ])
  expect(await of({ name: "repetition", n: 1 }, "aab")).toEqual([expect.closeTo(-1 / 3, 12)])
})

test("exact: to the letter", async () => {
  expect(await of({ name: "exact" }, " 42\n", "42.")).toEqual([1, 0])
  const row = { row: { code: "K7" } }
  expect(await scored([{ name: "exact", key: "code" }], [sample("K7", row)])).toMatchObject([
    { reward: 1 },
  ])
})

test("several: a weighted sum, each told by its name; what cannot be said is left out", async () => {
  const half = module(
    "half.mjs",
    "export default ({ completion }) => completion === 'x' ? null : 3",
  )
  const [a, b] = await scored(
    [
      { name: "exact", weight: 2 },
      { module: half, weight: 0.5 },
    ],
    [sample("42"), sample("x")],
  )
  expect(a).toEqual({ reward: 3.5, rewards: { exact: 1, "half.mjs": 3 } })
  expect(b).toEqual({ reward: 0, rewards: { exact: 0, "half.mjs": null } })
  expect(await of({ module: half }, "x")).toEqual([null])
})

test("labels are told apart", () => {
  const settings = [{ name: "format" }, { name: "format" }, { module: "/a/b.ts" }]
  expect(rewardLabels(settings.map((one) => ({ weight: 1, ...one })))).toEqual([
    "format",
    "format-2",
    "b.ts",
  ])
})

function module(name: string, text: string): string {
  const path = join(root, name)
  writeFileSync(path, text)
  return path
}

test("a module of one's own: TypeScript, promises, a named export, a batch", async () => {
  const ts = module(
    "own.ts",
    "interface S { readonly completion: string }\nexport const longer = async ({ completion }: S): Promise<number> => completion.length",
  )
  expect(await of({ module: ts, export: "longer" }, "ab", "abc")).toEqual([2, 3])
  const batch = module(
    "batch.mjs",
    "export const batch = (samples) => samples.map(({ row }) => Number(row.answer) + samples.length)",
  )
  expect(await of({ module: batch }, "a", "b")).toEqual([44, 44])
})

test.each([
  [
    "throws",
    "export default () => { throw new Error('no such tool') }",
    /throws.mjs: the reward function default: no such tool for prompts.jsonl:3, completion "abc"/,
  ],
  ["missing", "export const other = 1", /expected an exported function, the module exports other/],
  ["endless", "export default () => { for (;;); }", /took longer than 0.3 s for prompts.jsonl:3/],
  [
    "nan",
    "export default () => NaN",
    /^prompts.jsonl:3: the reward nan.mjs gave NaN for the completion "abc"/,
  ],
  ["infinite", "export default () => 1 / 0", /gave Infinity/],
  ["text", "export default () => 'good'", /gave "good" for .*expected a finite number, or null/],
  ["nothing", "export default () => {}", /gave nothing for .*expected a finite number, or null/],
  ["true", "export default () => true", /gave true for /],
  [
    "too large",
    "export default () => -1e31",
    /gave -1e\+31 for .*a finite number of at most 1e\+30/,
  ],
  ["a bigint", "export default () => 1n", /gave a bigint for /],
  ["process", "export default () => process.exit(0)", /: ended its thread \(process.exit\?\) for /],
  [
    "short",
    "export const batch = () => []",
    /batch: expected a list of 1 numbers or nulls, got a list of 0/,
  ],
  ["broken", "export default (", /broken.mjs: the reward function default/],
] as const)("a function that is wrong is named: %s", async (name, text, message) => {
  const path = module(`${name}.mjs`, text)
  const timeout = name === "endless" ? 0.3 : 60 // an honest call may be late on a busy machine
  await expect(of({ module: path, timeout }, "abc")).rejects.toThrow(message)
})

test.each([
  ["missing", "export const other = 1", /the module exports other$/],
  ["no function", "export default 3", /the module exports default, which is 3$/],
  ["broken", "export default (", /broken.mjs: the reward function default: /],
  ["throwing", "throw new Error('at load'); export default 1", /default: at load$/],
] as const)("what is wrong is known before a sample is there: %s", async (name, text, message) => {
  const scoring = openScoring([{ module: module(`${name}.mjs`, text), weight: 1 }], {
    maxNewTokens: 10,
  })
  await expect(scoring.ready?.()).rejects.toThrow(message)
  await scoring.close()
})

test.each([
  ["an error", "throw new Error('much later')", /late-an error.mjs: .*it had answered: much later/],
  ["a promise", "Promise.reject(new Error('in vain'))", /it had answered: in vain/],
  ["an exit", "process.exit(0)", /ended its thread after it had answered/],
] as const)("what fails between two calls is told at the next: %s", async (name, what, message) => {
  const path = module(
    `late-${name}.mjs`,
    `export default () => { setTimeout(() => { ${what} }, 1); return 1 }`,
  )
  const scoring = openScoring([{ module: path, timeout: 60, weight: 1 }], { maxNewTokens: 10 })
  expect((await scoring.score([sample("a")]))[0]).toMatchObject({ reward: 1 })
  // the thread's timer is due, but a busy machine may answer a call or two more before it
  await vi.waitFor(() => expect(scoring.score([sample("a")])).rejects.toThrow(message), 60_000)
  await scoring.close()
})

test("what a module prints goes to stderr, as it is loaded and as it is called", async () => {
  const path = module(
    "printing.mjs",
    "console.log('loaded'); export default () => { console.log('called'); return 1 }",
  )
  const out = vi.spyOn(process.stdout, "write").mockImplementation(() => true)
  const told = vi.spyOn(process.stderr, "write").mockImplementation(() => true)
  try {
    expect(await of({ module: path }, "x")).toEqual([1])
    await importOwnModule(path)
    await vi.waitFor(() => {
      const text = told.mock.calls.map(([piece]) => String(piece)).join("")
      expect(text.split("loaded")).toHaveLength(3)
      expect(text).toContain("called")
    }, 60_000)
    expect(out.mock.calls).toEqual([])
  } finally {
    out.mockRestore()
    told.mockRestore()
  }
})

test("modules that are loaded at once leave the console as it was", async () => {
  const before = globalThis.console
  const paths = [1, 2].map((i) =>
    module(`slow-${i}.mjs`, `await new Promise((r) => setTimeout(r, ${40 * i})); export default 1`),
  )
  await Promise.all(paths.map(importOwnModule))
  expect(globalThis.console).toBe(before)
})

test("a server: samples in, rewards out; asked again when it fails", async () => {
  let asked = 0
  const server = createServer((request, response) => {
    let body = ""
    request.on("data", (part) => {
      body += part
    })
    request.on("end", () => {
      asked++
      if (asked === 1) return response.writeHead(503).end("busy")
      const { samples } = JSON.parse(body)
      const rewards = samples.map((one: { completion: string }) => one.completion.length)
      if (request.url === "/endless") {
        const piece = Buffer.alloc(1 << 20, "x")
        const more = () => {
          while (!response.destroyed && response.write(piece)) {}
        }
        response.on("drain", more)
        return more()
      }
      return response.end(JSON.stringify({ rewards: request.url === "/short" ? [] : rewards }))
    })
  })
  const url = await listening(server)
  try {
    expect(await of({ url }, "ab", "abc")).toEqual([2, 3])
    expect(asked).toBe(2)
    await expect(of({ url: `${url}/endless` }, "ab")).rejects.toThrow(/longer than 64 MB/)
    await expect(of({ url: `${url}/short` }, "ab")).rejects.toThrow(
      /expected { "rewards": \[...\] } with 1 numbers or nulls, got 0 of them/,
    )
  } finally {
    server.close()
  }
})

async function listening(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

test.each([
  [{}, /expected one of name, module, model or url, got none of them/],
  [{ name: "math", module: "x.ts" }, /got name and module/],
  [{ name: "maths" }, /unknown reward "maths"; did you mean "math"/],
  [{ name: "math", n: 3 }, /does not fit the reward math, which takes weight, mode/],
  [{ name: "math", mode: "soft" }, /expected one of strict, lenient, paper/],
  [{ name: "format", pattern: "(" }, /is no regular expression/],
  [{ url: "http://x", export: "f" }, /does not fit the reward url/],
])("%j is refused", (settings, message) => {
  const found = rewardProblems({ weight: 1, ...settings }).map((problem) => problem.message)
  expect(found.join("\n")).toMatch(message)
})

test("a row that a reward cannot judge is known before the run", () => {
  const math = [{ name: "math", weight: 1 }]
  expect(rowProblem({ answer: "1" }, math)).toBeUndefined()
  expect(rowProblem({ prompt: "x", note: 1 }, math)).toMatch(/needs a gold answer.*prompt, note/)
  expect(rowProblem({ answer: "1" }, [{ name: "exact", weight: 1, key: "code" }])).toMatch(/code/)
})
