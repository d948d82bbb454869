/**
 * Python programs that a model wrote, run against tests in Python. Program and tests run in two
 * interpreters, each in a sealed process: a call in a test goes to the program as plain values, and
 * a plain value comes back. The program sees no test and no comparison.
 */
import { InputError } from "../errors.ts"
import { turns } from "../host/turns.ts"
import { MOST_PROCESSES } from "./most-processes.ts"
import { type PythonProcess, pythonSnapshot, startPython } from "./python-process.ts"
import type { SandboxLimits } from "./sealed-child.ts"

export interface PythonTests {
  /** Runs before the tests, without the program: imports, helpers. */
  readonly setup?: string
  /**
   * Statements of which none may fail; names that they do not define are the program's functions.
   * Several are judged each by itself.
   */
  readonly tests: string | readonly string[]
  /** Functions that are the program's even where `setup` defines them. */
  readonly functions?: readonly string[]
}

export interface PythonVerdict {
  readonly passed: boolean
  /** Of the tests, the share that passed. */
  readonly share: number
  /** What went wrong first. */
  readonly problem: string | undefined
}

export interface PythonSandbox {
  /** @throws the signal's reason when it is aborted; no process of the program is left then */
  judge(program: string, tests: PythonTests, signal?: AbortSignal): Promise<PythonVerdict>
  close(): Promise<void>
}

const DEFAULT_LIMITS: SandboxLimits = { seconds: 10, megabytes: 256 }
/** Seconds that an interpreter may take to start, on a machine that has much else to do. */
const START_SECONDS = 120

const HOST = "to_js([]).constructor.constructor('return process')()"
const ESCAPES = {
  "a command of the host": "import os\ndef reach():\n  return os.system('echo 1 > /dev/null') + 1",
  "a file of the host": `def reach():\n  from pyodide.ffi import to_js\n  return ${HOST}.getBuiltinModule('fs').readFileSync(${JSON.stringify(process.execPath)}).length`,
  "a socket": `def reach():\n  from pyodide.ffi import to_js\n  ${HOST}.getBuiltinModule('net').connect(9, '127.0.0.1')\n  return 1`,
}

/**
 * A sandbox that has tested itself.
 *
 * @throws InputError where it does not start, or where an escape succeeded: nothing will be run
 */
export async function openPythonSandbox(
  limits: Partial<SandboxLimits> = {},
  onNotice?: (message: string) => void,
): Promise<PythonSandbox> {
  const all = { ...DEFAULT_LIMITS, ...limits }
  const options = { megabytes: all.megabytes, snapshot: await pythonSnapshot(undefined, onNotice) }
  const open = await escapesThatSucceed(options)
  if (open.length > 0) {
    throw new InputError(
      `programs are not run on this machine: one in the sandbox could reach ${open.join(", ")}.`,
    )
  }
  const checkers: PythonProcess[] = []
  const inTurn = turns(MOST_PROCESSES)
  const judgeOnce = async (
    program: string,
    tests: PythonTests,
    signal: AbortSignal | undefined,
  ): Promise<PythonVerdict> => {
    signal?.throwIfAborted()
    const guest = await started("program", options)
    const checker = checkers.pop() ?? (await started("check", options))
    let late = false
    const stop = () => {
      guest.kill()
      checker.kill()
    }
    const timer = setTimeout(() => {
      late = true
      stop()
    }, all.seconds * 1000)
    signal?.addEventListener("abort", stop, { once: true })
    try {
      const found = await judged({ guest, checker, program, tests })
      signal?.throwIfAborted()
      if (late) return failed(`took longer than ${all.seconds} seconds`)
      if (found === undefined) checker.kill()
      else checkers.push(checker)
      return found ?? failed("the process of the tests ended")
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener("abort", stop)
      guest.kill()
    }
  }
  return {
    judge: (program, tests, signal) => inTurn(() => judgeOnce(program, tests, signal)),
    async close() {
      for (const checker of checkers.splice(0)) checker.kill()
    },
  }
}

const ENDED = "the program ended its interpreter"
const failed = (problem: string): PythonVerdict => ({ passed: false, share: 0, problem })

interface Judging {
  readonly guest: PythonProcess
  readonly checker: PythonProcess
  readonly program: string
  readonly tests: PythonTests
}

/** Undefined where the tests' own process ended. */
async function judged({
  guest,
  checker,
  program,
  tests,
}: Judging): Promise<PythonVerdict | undefined> {
  const defined = await guest.ask({ program })
  if (defined?.done !== true) return failed(textOf(defined?.raised) ?? ENDED)
  const { setup = "", functions = [] } = tests
  const problems: string[] = []
  const all = [tests.tests].flat()
  for (const text of all) {
    const problem = await testProblem({ guest, checker }, { setup, tests: text, functions })
    if (problem === undefined) return undefined
    if (problem !== "") problems.push(problem)
  }
  const share = 1 - problems.length / all.length
  return { passed: problems.length === 0, share, problem: problems[0] }
}

/** What is wrong with one test; nothing where it passed, undefined where its own process ended. */
async function testProblem(
  { guest, checker }: Pick<Judging, "guest" | "checker">,
  request: {
    readonly setup: string
    readonly tests: string
    readonly functions: readonly string[]
  },
): Promise<string | undefined> {
  let reply = await checker.ask(request)
  let lost: string | undefined
  while (reply?.call !== undefined) {
    const { call, args } = reply
    const answer = lost === undefined ? asAnswer(await guest.ask({ call, args })) : undefined
    if (answer === undefined) lost = ENDED
    reply = await checker.ask(answer ?? { raised: "RuntimeError: no answer" })
  }
  if (reply === undefined) return undefined
  if (lost !== undefined) return lost
  return reply.passed === true ? "" : (textOf(reply.problem) ?? "a test failed")
}

const textOf = (value: unknown) => (typeof value === "string" ? value : undefined)

/** Only what a guest may answer, whatever it wrote; undefined where its interpreter has ended. */
function asAnswer(answer: Record<string, unknown> | undefined): Record<string, string> | undefined {
  const { value, raised } = answer ?? {}
  if (typeof value === "string") return { value }
  return typeof raised === "string" ? { raised: raised.slice(0, 400) } : undefined
}

async function started(
  mode: "program" | "check",
  options: Parameters<typeof startPython>[1],
): Promise<PythonProcess> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new InputError(`the sandbox for Python did not start in ${START_SECONDS} s`)),
      START_SECONDS * 1000,
    )
  })
  try {
    return await Promise.race([startPython(mode, options), late])
  } finally {
    clearTimeout(timer)
  }
}

/** The escapes that got out when tried; none on a machine where programs may run. */
async function escapesThatSucceed(options: Parameters<typeof startPython>[1]): Promise<string[]> {
  const found: string[] = []
  let guest = await started("program", options)
  const reaches = async (program: string) => {
    await guest.ask({ program })
    const reply = await guest.ask({ call: "reach", args: NO_ARGUMENTS })
    if (reply === undefined) guest = await started("program", options) // it ended its interpreter
    return reply
  }
  try {
    for (const [name, program] of Object.entries(ESCAPES))
      if ((await reaches(program))?.value !== undefined) found.push(name)
    const plain = await reaches("def reach():\n  return 42")
    if (plain?.value === "42") return found
    throw new InputError(
      `the sandbox for Python does not work on this machine: a plain program fails in it (${String(plain?.raised ?? "its process ended")})`,
    )
  } finally {
    guest.kill()
  }
}

/** As the codec has them: positional and named. */
const NO_ARGUMENTS = '{"t": [[], {"d": []}]}'
