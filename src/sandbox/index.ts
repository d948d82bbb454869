/**
 * Programs that a model wrote, run against tests. A test is a call with JSON arguments; its value
 * comes back and is compared here, so nothing the program changes can change the comparison.
 */
import { isDeepStrictEqual } from "node:util"
import { InputError } from "../errors.ts"
import { type CallResult, runSealed, type SandboxLimits } from "./sealed-child.ts"

export type { SandboxLimits } from "./sealed-child.ts"

export interface CallTest {
  /** A function of the program, such as `add` or `Stack.of`. */
  readonly call: string
  readonly args: readonly unknown[]
  /** The JSON value that it has to return; the program never sees it. */
  readonly equals: unknown
}

export interface Verdict {
  readonly passed: boolean
  /** What went wrong first. */
  readonly problem: string | undefined
}

const DEFAULT_LIMITS: SandboxLimits = { seconds: 10, megabytes: 128 }
const NAME = /^[A-Za-z_$][\w$]*(\.[A-Za-z_$][\w$]*)*$/

const NODE = `globalThis.constructor.constructor("return process")().getBuiltinModule`
const ESCAPES = {
  "a command of the host": `${NODE}("child_process").execSync("echo 1").length`,
  "a file of the host": `${NODE}("fs").readFileSync(${JSON.stringify(process.execPath)}).length`,
  "a socket": `typeof ${NODE}("net").connect(9, "127.0.0.1").destroy`,
}

/** The escapes that got out when tried; none on a machine where programs may run. */
export async function escapesThatSucceed(run = runSealed): Promise<string[]> {
  const reply = await run(
    "function alive() { return 41 + 1 }",
    [...Object.values(ESCAPES), "alive()"],
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
export async function openSandbox(limits: Partial<SandboxLimits> = {}, run = runSealed) {
  const open = await escapesThatSucceed(run)
  if (open.length > 0) {
    throw new InputError(
      `programs are not run on this machine: one in the sandbox could reach ${open.join(", ")}.`,
    )
  }
  const all = { ...DEFAULT_LIMITS, ...limits }
  return {
    judge: async (program: string, tests: readonly CallTest[]): Promise<Verdict> => {
      if (tests.length === 0) throw new InputError("a program without tests cannot be judged.")
      const reply = await run(program, tests.map(callOf), all)
      if ("problem" in reply) return { passed: false, problem: reply.problem }
      const problem = tests
        .map((test, index) => failure(test, reply.results[index]))
        .find((found) => found !== undefined)
      return { passed: problem === undefined, problem }
    },
  }
}

function callOf({ call, args }: CallTest): string {
  if (!NAME.test(call)) {
    throw new InputError(`a test's call must name a function, like add; it is ${call}.`)
  }
  return `${call}(${args.map((arg) => JSON.stringify(arg)).join(", ")})`
}

function failure(test: CallTest, result: CallResult | undefined): string | undefined {
  if (result === undefined) return `${callOf(test)} gave no result`
  if ("problem" in result) return `${callOf(test)}: ${result.problem}`
  if (isDeepStrictEqual(result.value, test.equals)) return undefined
  return `${callOf(test)} is ${JSON.stringify(result.value)?.slice(0, 200)}`
}
