import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { openPythonSandbox, type PythonSandbox } from "../../src/sandbox/python.ts"
import { pythonSnapshot, snapshotIn } from "../../src/sandbox/python-process.ts"

let sandbox: PythonSandbox
beforeAll(async () => {
  sandbox = await openPythonSandbox({ seconds: 5 })
}, 300_000)
afterAll(async () => sandbox?.close())

const TESTS = { tests: "assert add(1, 2) == 3\nassert add(-1, 1) == 0" }

test("a right program passes, a wrong one does not, and what is wrong is said", async () => {
  expect(await sandbox.judge("def add(a, b):\n    return a + b", TESTS)).toMatchObject({
    passed: true,
    share: 1,
  })
  const wrong = await sandbox.judge("def add(a, b):\n    return a - b", TESTS)
  expect(wrong).toMatchObject({ passed: false, problem: "a test failed" })
  const none = await sandbox.judge("def sub(a, b):\n    return a", TESTS)
  expect(none.problem).toContain("the program defines no add")
  const broken = await sandbox.judge("def add(a, b)\n    return a", TESTS)
  expect(broken.problem).toContain("SyntaxError")
}, 120_000)

test("every kind of plain value goes there and back as it is", async () => {
  const values =
    "None, True, 10**40, -0.5, float('inf'), 'ä\\n', b'\\x00', 1+2j, [1, [2]], (1, (2,)), {1: {'a': (3,)}}, {1, 2}, frozenset({3})"
  const tests = `for value in [${values}]:\n    back = same(value)\n    assert back == value and type(back) is type(value), value\nimport math\nassert math.isnan(same(float('nan')))\nassert same(a=1) == 1`
  const program = "def same(value=None, a=None):\n    return a if a is not None else value"
  expect(await sandbox.judge(program, { tests })).toMatchObject({ passed: true, share: 1 })
}, 120_000)

test("an error of the program is one that a test may expect", async () => {
  const tests =
    "try:\n    f()\n    assert False\nexcept ValueError as error:\n    assert str(error) == 'no'"
  expect((await sandbox.judge("def f():\n    raise ValueError('no')", { tests })).passed).toBe(true)
  expect((await sandbox.judge("def f():\n    pass", { tests })).passed).toBe(false)
}, 120_000)

test("what ends a program, or is no Exception, raises nothing that a test may expect", async () => {
  const tests = "try:\n    f()\n    assert False\nexcept Exception: pass"
  const ends = ["os._exit(0)", "sys.exit(0)", "exec('raise KeyboardInterrupt')", "f()"]
  for (const body of ends) {
    const program = `import os, sys\nsys.setrecursionlimit(10**9)\ndef f(): ${body}`
    expect((await sandbox.judge(program, { tests })).passed, body).toBe(false)
  }
  const wordless = "import builtins\nbuiltins.type = lambda *a: 3\nraise ValueError(1)"
  expect((await sandbox.judge(wordless, { tests })).problem).toBe(
    "the program ended its interpreter",
  )
}, 120_000)

// each once made graders of programs say yes
test.each([
  [
    "an object equal to everything",
    "class Any:\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\ndef add(a, b): return Any()",
  ],
  [
    "a number equal to everything",
    "class Any(int):\n    def __eq__(self, other): return True\ndef add(a, b): return Any(7)",
  ],
  ["an exit before the check", "import os\ndef add(a, b): os._exit(0)"],
  ["an exit while it is defined", "import sys\nsys.exit(0)"],
  [
    "patched builtins",
    "import builtins\nbuiltins.AssertionError = ValueError\nbuiltins.len = lambda x: 3\nbuiltins.type = lambda *x: int\nbuiltins.isinstance = lambda *x: True\ndef add(a, b): return 7",
  ],
  ["a printed verdict", "def add(a, b):\n    print('{\"passed\": true}')\n    return 7"],
  ["a check of its own", "def check(candidate): pass\ndef add(a, b): return 7"],
  [
    "the tests read from the frames",
    "import sys\ndef add(a, b):\n    frame = sys._getframe()\n    while frame:\n        for value in frame.f_locals.values():\n            if isinstance(value, str) and 'assert' in value: return 3\n        frame = frame.f_back\n    return 7",
  ],
  ["a value that tells of itself as JSON", "def add(a, b): return '{\"passed\": true}'"],
])(
  "%s is no right answer",
  async (_, program) => {
    expect((await sandbox.judge(program, TESTS)).passed).toBe(false)
    // the next program is judged as if nothing had been
    expect((await sandbox.judge("def add(a, b): return a + b", TESTS)).passed).toBe(true)
  },
  240_000,
)

test("what does not end, or takes too much memory, is stopped", async () => {
  const quick = await openPythonSandbox({ seconds: 2 })
  const loop =
    "def add(a, b):\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass"
  expect((await quick.judge(loop, TESTS)).problem).toBe("took longer than 2 seconds")
  await quick.close()
  const bomb = await sandbox.judge("def add(a, b):\n    return len([0] * 10**9)", TESTS)
  expect(bomb.problem).toContain("MemoryError")
  const signal = AbortSignal.abort(new Error("stopped"))
  await expect(sandbox.judge(loop, TESTS, signal)).rejects.toThrow("stopped")
}, 240_000)

const WAYS_OUT = {
  command: "import os\n    return os.system('true') + 3",
  javascript: "import js\n    return 3",
  run_js: "from pyodide.code import run_js\n    return run_js('3')",
  constructor:
    "from pyodide.ffi import to_js\n    return to_js([]).constructor.constructor('return 3')()",
  library: "import ctypes\n    return ctypes.CDLL(None).abs(3)",
  file: "return len(open('/etc/passwd').read()) * 0 + 3",
  folder: "import os\n    return 3 if 'etc' in os.listdir('/') else 4",
  socket: "import socket\n    socket.create_connection(('127.0.0.1', 9), 1)\n    return 3",
}

test("the host is out of reach", async () => {
  const names = Object.keys(WAYS_OUT)
  const program = Object.entries(WAYS_OUT).map(([name, body]) => `def ${name}():\n    ${body}`)
  const tries = names.map(
    (name) => `try:\n    if ${name}() == 3: open_ways.append("${name}")\nexcept Exception: pass`,
  )
  const tests = ["open_ways = []", ...tries, "assert not open_ways, open_ways"].join("\n")
  expect(await sandbox.judge(program.join("\n"), { tests })).toMatchObject({
    passed: true,
    share: 1,
  })
  const process =
    "import subprocess\ndef add(a, b): return len(subprocess.check_output(['echo', '12']))"
  expect((await sandbox.judge(process, TESTS)).passed).toBe(false)
}, 120_000)

test("a kept picture of the interpreter that is not what was written is made anew", async () => {
  const folder = mkdtempSync(join(tmpdir(), "dftune-python-"))
  const told: string[] = []
  cpSync(dirname((await pythonSnapshot())!), folder, { recursive: true })
  const path = await snapshotIn(folder, (line) => told.push(line))
  expect(told).toEqual([])
  const written = readFileSync(path!)
  const damaged = Buffer.from(written)
  damaged[damaged.length >> 1]! ^= 1
  writeFileSync(path!, damaged)
  const { ino } = statSync(path!)
  expect(await snapshotIn(folder, (line) => told.push(line))).toBe(path)
  expect(told).toEqual([expect.stringContaining("was damaged and is made anew")])
  expect(readFileSync(path!).length).toBeGreaterThan(1e6)
  expect(statSync(path!).ino).not.toBe(ino)
  rmSync(folder, { recursive: true })
}, 120_000)
