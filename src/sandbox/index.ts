/**
 * Programs that a model wrote, run against tests. A test is a call with JSON arguments; its value
 * comes back and is compared here, so nothing the program changes can change the comparison.
 */
import { isDeepStrictEqual } from "node:util"
import { InputError } from "../errors.ts"
import { turns } from "../host/turns.ts"
import { MOST_PROCESSES } from "./most-processes.ts"
import { type CallResult, runSealed, type SandboxLimits } from "./sealed-child.ts"

export type { SandboxLimits } from "./sealed-child.ts"

export interface CallTest {
  /** A function of the program, such as `add` or `Stack.of`. */
  readonly call: string
  readonly args: readonly unknown[]
  /** The JSON value that it has to return, or promise; the program never sees it. */
  readonly equals: unknown
}

export interface Verdict {
  /** Whether all tests passed. */
  readonly passed: boolean
  /** Of the tests, the share that passed. */
  readonly share: number
  /** What went wrong first. */
  readonly problem: string | undefined
}

export interface Sandbox {
  /**
   * @throws InputError for a test that is none; the signal's reason when it is aborted, and then no
   *   process of this program is left
   */
  judge(program: string, tests: readonly CallTest[], signal?: AbortSignal): Promise<Verdict>
}

const DEFAULT_LIMITS: SandboxLimits = { seconds: 10, megabytes: 128 }
const NAME = /^[A-Za-z_$][\w$]*(\.[A-Za-z_$][\w$]*)*$/
/** Whether a test may call it: a name and nothing more. */
export const isCallName = (call: string): boolean => NAME.test(call)

const NODE = `globalThis.constructor.constructor("return process")().getBuiltinModule`
const ESCAPES = {
  "a command of the host": `${NODE}("child_process").execSync("echo 1").length`,
  "a file of the host": `${NODE}("fs").readFileSync(${JSON.stringify(process.execPath)}).length`,
  "a socket": `typeof ${NODE}("net").connect(9, "127.0.0.1").destroy`,
}

/** The escapes that got out when tried; none on a machine where programs may run. */
export async function escapesThatSucceed(run = runSealed): Promise<string[]> {
  const calls = [...Object.values(ESCAPES), "alive()"]
  const reply = await run(
    "function alive() { return 41 + 1 }",
    calls.map((expression) => ({ code: `() => ${expression}`, args: "[]" })),
    { ...DEFAULT_LIMITS, seconds: 60 },
  )
  if ("problem" in reply) throw new InputError(`the sandbox does not start: ${reply.problem}.`)
  const alive = reply.results.at(-1)
  if (!alive || !("value" in alive) || alive.value !== 42) {
    throw new InputError("the sandbox does not work on this machine: a plain program fails in it.")
  }
  return Object.keys(ESCAPES).filter((_, index) => "value" in reply.results[index]!)
}

/** A sandbox that has tested itself. InputError: an escape succeeded, and nothing will be run. */
export async function openSandbox(
  limits: Partial<SandboxLimits> = {},
  run = runSealed,
): Promise<Sandbox> {
  const open = await escapesThatSucceed(run)
  if (open.length > 0) {
    throw new InputError(
      `programs are not run on this machine: one in the sandbox could reach ${open.join(", ")}.`,
    )
  }
  const all = { ...DEFAULT_LIMITS, ...limits }
  const inTurn = turns(MOST_PROCESSES)
  return {
    async judge(program, tests, signal) {
      if (tests.length === 0) throw new InputError("a program without tests cannot be judged.")
      const calls = tests.map((test) => ({ code: calledAs(test), args: JSON.stringify(test.args) }))
      const reply = await inTurn(() => run(program, calls, all, signal))
      if ("problem" in reply) return { passed: false, share: 0, problem: reply.problem }
      const failures = tests.flatMap((test, index) => failure(test, reply.results[index]) ?? [])
      const share = 1 - failures.length / tests.length
      return { passed: failures.length === 0, share, problem: failures[0] }
    },
  }
}

/** The name is looked up when the call is made, and called as it is written, `this` with it. */
function calledAs({ call }: CallTest): string {
  if (!isCallName(call)) {
    throw new InputError(`a test's call must name a function, like add; it is ${call}.`)
  }
  return `(args) => ${call}(...args)`
}

const shownCall = ({ call, args }: CallTest) =>
  `${call}(${args.map((arg) => JSON.stringify(arg)).join(", ")})`

function failure(test: CallTest, result: CallResult | undefined): string | undefined {
  if (result === undefined) return `${shownCall(test)} gave no result`
  if ("problem" in result) return `${shownCall(test)}: ${result.problem}`
  if (isDeepStrictEqual(result.value, asJson(test.equals))) return undefined
  return `${shownCall(test)} is ${JSON.stringify(result.value)?.slice(0, 200)}`
}

/** As it would come back: JSON has one zero. */
const asJson = (value: unknown): unknown => JSON.parse(JSON.stringify(value))
