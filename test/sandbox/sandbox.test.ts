import { spawnSync } from "node:child_process"
import { availableParallelism } from "node:os"
import { beforeAll, expect, test } from "vitest"
import { escapesThatSucceed, openSandbox, type Sandbox } from "../../src/sandbox/index.ts"
import { runSealed, type SealedCall } from "../../src/sandbox/sealed-child.ts"

let sandbox: Sandbox
beforeAll(async () => {
  sandbox = await openSandbox()
})

const TESTS = [
  { call: "add", args: [1, 2], equals: 3 },
  { call: "add", args: [[1], [2]], equals: { sum: [1, 2] } },
]
const HONEST = "function add(a, b) { return Array.isArray(a) ? { sum: [...a, ...b] } : a + b }"

test("an honest program passes, a wrong one does not", async () => {
  expect(await sandbox.judge(HONEST, TESTS)).toEqual({
    ...{ passed: true, share: 1, problem: undefined },
  })
  const wrong = await sandbox.judge("const add = (a, b) => a - b", TESTS)
  expect(wrong).toEqual({ passed: false, share: 0, problem: "add(1, 2) is -1" })
  const half = await sandbox.judge("const add = (a, b) => a + b", TESTS)
  expect(half).toMatchObject({ passed: false, share: 0.5 })
})

const PATCHES = "JSON.stringify = Object.is = Array.prototype.every = () => true"
test.concurrent.each([
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
  const unsealed = async (_: string, calls: readonly SealedCall[]) => ({
    results: calls.map((call) => {
      const code = call.code === "() => alive()" ? "42" : `(${call.code})()`
      const { stdout } = spawnSync(process.execPath, ["-p", code], { encoding: "utf8" })
      return stdout === "" ? { problem: "no" } : { value: code === "42" ? 42 : stdout }
    }),
  })
  await expect(openSandbox({}, unsealed)).rejects.toThrow(
    "could reach a command of the host, a file of the host, a socket",
  )
})

const RIGHT: readonly (readonly [of: string, body: string, equals: unknown])[] = [
  ["-0 for 0", "() => -0", 0],
  ["0 for -0", "() => [0]", [-0]],
  ["a promise of the value", "async () => { await null; return { a: [1] } }", { a: [1] }],
  ["undefined in an object", "() => ({ a: 1, b: undefined })", { a: 1 }],
  ["the key __proto__", `() => JSON.parse('{"__proto__":1}')`, JSON.parse('{"__proto__":1}')],
  ["half a character", "() => '\\ud800'", "\ud800"],
  ["a large number", "() => 2 ** 60 + 0.1", 2 ** 60 + 0.1],
  ["this of a method", "() => ({ n: 3, g() { return this.n } }).g()", 3],
]
const WRONG: readonly (readonly [body: string, equals: unknown, problem: RegExp])[] = [
  ["() => NaN", null, /NaN, which is no JSON value/],
  ["() => [1, NaN]", [1, null], /NaN, which is no JSON value/],
  ["() => ({ a: { b: -Infinity } })", { a: { b: null } }, /-Infinity, which is no/],
  ["() => [undefined]", [null], /undefined, which is no JSON value/],
  ["() => new Map([[1, 2]])", {}, /an object that is not plain/],
  ["() => [Promise.resolve(1)]", [{}], /an object that is not plain/],
  ["() => ({ toJSON: () => 3 })", 3, /a function, which is no JSON value/],
  ["() => 3n", 3, /a bigint/],
  ["() => new Promise(() => {})", 3, /a promise that never settles/],
  ["async () => { throw new Error('no') }", 3, /Error: no/],
  ["() => { const a = []; a.push(a); return a }", [], /more than 100 levels/],
]

test("what a call gives is compared as JSON, and what JSON would change is no result", async () => {
  const bodies = [...RIGHT.map(([, body]) => body), ...WRONG.map(([body]) => body)]
  const program = bodies.map((body, i) => `const f${i} = ${body}`).join("\n")
  const calls = bodies.map((_, i) => ({ code: `(args) => f${i}(...args)`, args: "[]" }))
  const reply = await runSealed(program, calls, { seconds: 30, megabytes: 128 })
  const results = "results" in reply ? reply.results : []
  RIGHT.forEach(([of, , equals], i) => {
    const wanted = JSON.parse(JSON.stringify(equals))
    expect(results[i], of).toEqual({ value: wanted })
  })
  WRONG.forEach(([body, , problem], i) => {
    expect(results[RIGHT.length + i], body).toEqual({ problem: expect.stringMatching(problem) })
  })
  const tests = [...RIGHT.map(([, , equals]) => equals), ...WRONG.map(([, equals]) => equals)].map(
    (equals, i) => ({ call: `f${i}`, args: [], equals }),
  )
  expect((await sandbox.judge(program, tests)).share).toBeCloseTo(RIGHT.length / tests.length, 12)
})

test("nor can a program change what decides it", async () => {
  const patched =
    "Number.isFinite = () => true; Array.isArray = () => true; String = () => 'null'; const f = () => [NaN]"
  const verdict = await sandbox.judge(patched, [{ call: "f", args: [], equals: [null] }])
  expect(verdict.problem).toMatch(/NaN, which is no JSON value/)
})

test("a program may not change what it is called with into what is wanted", async () => {
  const program = "JSON.parse = () => [5]; const add = (a) => a"
  expect((await sandbox.judge(program, [{ call: "add", args: [3], equals: 3 }])).passed).toBe(true)
})

test("an abort ends the process, and what waits is not begun", async () => {
  const stop = new AbortController()
  const endless = "function add() { for (;;); }"
  const began = Date.now()
  const running = Array.from({ length: 20 }, () => sandbox.judge(endless, TESTS, stop.signal))
  setTimeout(() => stop.abort(new Error("enough")), 100)
  for (const one of await Promise.allSettled(running)) {
    expect(one).toMatchObject({ status: "rejected", reason: { message: "enough" } })
  }
  expect(Date.now() - began).toBeLessThan(9000) // not the time limit of 10 s
})

test("no more processes than the machine has room for run at once", async () => {
  let [now, most] = [0, 0]
  const counted: typeof runSealed = async (...given) => {
    most = Math.max(most, ++now)
    try {
      return await runSealed(...given)
    } finally {
      now--
    }
  }
  const limited = await openSandbox({}, counted)
  const verdicts = await Promise.all(Array.from({ length: 5 }, () => limited.judge(HONEST, TESTS)))
  expect(verdicts.every(({ passed }) => passed)).toBe(true)
  expect(most).toBeLessThanOrEqual(Math.min(8, availableParallelism()))
})

test("a test that is no call is refused", async () => {
  await expect(
    sandbox.judge(HONEST, [{ call: "add(1, 2); x", args: [], equals: 3 }]),
  ).rejects.toThrow("must name a function")
})
