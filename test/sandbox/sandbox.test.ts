import { spawnSync } from "node:child_process"
import { beforeAll, expect, test } from "vitest"
import { escapesThatSucceed, openSandbox } from "../../src/sandbox/index.ts"

let sandbox: Awaited<ReturnType<typeof openSandbox>>
beforeAll(async () => {
  sandbox = await openSandbox()
})

const TESTS = [
  { call: "add", args: [1, 2], equals: 3 },
  { call: "add", args: [[1], [2]], equals: { sum: [1, 2] } },
]
const HONEST = "function add(a, b) { return Array.isArray(a) ? { sum: [...a, ...b] } : a + b }"

test("an honest program passes, a wrong one does not", async () => {
  expect(await sandbox.judge(HONEST, TESTS)).toEqual({ passed: true, problem: undefined })
  const wrong = await sandbox.judge("const add = (a, b) => a - b", TESTS)
  expect(wrong).toEqual({ passed: false, problem: "add(1, 2) is -1" })
})

const PATCHES = "JSON.stringify = Object.is = Array.prototype.every = () => true"
test.each([
  [
    "an object equal to everything",
    "const add = () => new Proxy({ valueOf: () => 3, toString: () => '3', equals: () => true }, {})",
  ],
  ["exit before the check", "process.exit(0)"],
  ["exit in the call", "function add() { std.exit(0) }"],
  ["patched builtins", `${PATCHES}; Object.prototype.toJSON = () => 3; function add() {}`],
  ["a printed verdict", `console.log('{"results":[{"value":3}]}')`],
  ["a returned verdict", "const add = () => ({ passed: true, value: 3, problem: undefined })"],
  ["a replaced check", "globalThis.check = globalThis.judge = () => true; var add = () => true"],
  [
    "tests read from the frame",
    "function add() { return (arguments.callee.caller || new Error().stack).toString() }",
  ],
])("not rewarded: %s", async (_, program) => {
  expect((await sandbox.judge(program, TESTS)).passed).toBe(false)
})

test("endless loops, memory bombs and deep recursion end", async () => {
  const quick = await openSandbox({ seconds: 1 })
  const loop = "function add() { for (;;) try { for (;;); } catch {} }"
  expect((await quick.judge(loop, TESTS)).problem).toBe("took longer than 1 seconds")
  for (const [bomb, problem] of [
    ["let a = []; for (;;) a.push(new ArrayBuffer(1e7))", /out of memory/],
    ["function f() { return f() + 1 } f()", /stack overflow|call stack/],
  ] as const) {
    expect((await sandbox.judge(bomb, TESTS)).problem).toMatch(problem)
  }
})

test("a sandbox that something gets out of runs nothing", async () => {
  expect(await escapesThatSucceed()).toEqual([])
  // The same attempts succeed where nothing is sealed.
  const unsealed = async (_: string, calls: readonly string[]) => ({
    results: calls.map((call) => {
      const code = call === "alive()" ? "42" : call
      const { stdout } = spawnSync(process.execPath, ["-p", code], { encoding: "utf8" })
      return stdout === "" ? { problem: "no" } : { value: code === "42" ? 42 : stdout }
    }),
  })
  await expect(openSandbox({}, unsealed)).rejects.toThrow(
    "could reach a command of the host, a file of the host, a socket",
  )
})

test("a test that is no call is refused", async () => {
  await expect(
    sandbox.judge(HONEST, [{ call: "add(1, 2); x", args: [], equals: 3 }]),
  ).rejects.toThrow("must name a function")
})
