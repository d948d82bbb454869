/** A reward of programs: the share, or all, of a row's tests that pass in the sandbox. */
import { describeValue, isObject, type JsonObject } from "../formats/json.ts"
import { type CallTest, isCallName, openSandbox } from "../sandbox/index.ts"
import { openPythonSandbox } from "../sandbox/python.ts"
import { keysOf } from "./math.ts"
import type { RewardSample, RewardWork } from "./reward.ts"

const WANTED =
  'a list of tests { "call": "add", "args": [1, 2], "equals": 3 }: what is called, with which JSON values, and what it must return'

/** The last block of code of an answer, or all of it where it has none. */
const BLOCK = /```[^\n`]*\n([\s\S]*?)(?:\n[ \t]*```|$)/g

const WANTED_PYTHON =
  'a text of Python statements of which none may fail, such as "assert add(1, 2) == 3", or a list of such texts'

/**
 * 1 where every test of the row passes, else 0; with `score: share` the share that passes. The
 * program is the answer's last block of code. It runs sealed off, and never sees what is expected.
 */
export const unitTests: RewardWork = {
  rowProblem: (row, { key, language }) =>
    language === "python" ? pythonProblem(row, String(key)) : testsProblem(row, String(key)),
  open({ key, score, seconds, language }) {
    const judges = language === "python" ? pythonJudge : javascriptJudge
    // It tests itself at once: a run on a machine that cannot hold programs ends before its first
    // rollout.
    const opened = judges(Number(seconds))
    opened.catch(() => {}) // told to whoever asks first
    const judged = async ({ completion, row }: RewardSample, signal?: AbortSignal) => {
      const { judge } = await opened
      const { passed, share } = await judge(programIn(completion), row[String(key)], signal)
      return score === "share" ? share : Number(passed)
    }
    return {
      ready: async () => {
        await opened
      },
      score: (samples, signal) => Promise.all(samples.map((sample) => judged(sample, signal))),
      close: async () => (await opened).close(),
    }
  },
}

interface Judged {
  readonly passed: boolean
  readonly share: number
}

interface ProgramJudge {
  judge(program: string, tests: unknown, signal?: AbortSignal): Promise<Judged>
  close(): Promise<void>
}

async function javascriptJudge(seconds: number): Promise<ProgramJudge> {
  const { judge } = await openSandbox({ seconds })
  return {
    judge: (program, tests, signal) => judge(program, tests as readonly CallTest[], signal),
    close: async () => {},
  }
}

async function pythonJudge(seconds: number): Promise<ProgramJudge> {
  const sandbox = await openPythonSandbox({ seconds })
  return {
    judge: (program, tests, signal) =>
      sandbox.judge(program, { tests: tests as string | string[] }, signal),
    close: () => sandbox.close(),
  }
}

function pythonProblem(row: JsonObject, key: string): string | undefined {
  const tests = row[key]
  if (tests === undefined) {
    return `the reward unit-tests needs ${WANTED_PYTHON}, under ${key}; the row has ${keysOf(row)}`
  }
  const isTexts =
    Array.isArray(tests) && tests.length > 0 && tests.every((one) => typeof one === "string")
  if (isTexts || (typeof tests === "string" && tests.trim() !== "")) return undefined
  return `the reward unit-tests with language: python needs ${WANTED_PYTHON}; ${key} is ${describeValue(tests)}`
}

export function programIn(completion: string): string {
  return [...completion.matchAll(BLOCK)].at(-1)?.[1] ?? completion
}

/**
 * What is wrong with a row's tests, to end the sentence "file:line: ..."; undefined when nothing.
 */
function testsProblem(row: JsonObject, key: string): string | undefined {
  const tests = row[key]
  if (tests === undefined) {
    return `the reward unit-tests needs ${WANTED}, under ${key}; the row has ${keysOf(row)}`
  }
  if (typeof tests === "string" && /\b(assert|def|import)\b/.test(tests)) {
    return `the reward unit-tests runs JavaScript, and ${key} is a text of Python; set language: python, or write ${WANTED}`
  }
  if (!Array.isArray(tests) || tests.length === 0) {
    return `the reward unit-tests needs ${WANTED}; ${key} is ${Array.isArray(tests) ? "an empty list" : describeValue(tests)}`
  }
  for (const [i, test] of tests.entries()) {
    const problem = testProblem(test)
    if (problem !== undefined) return `${key}[${i}]: ${problem}; expected ${WANTED}`
  }
  return undefined
}

function testProblem(test: unknown): string | undefined {
  if (!isObject(test)) return `is ${describeValue(test)}`
  const { call, args, equals } = test
  if (typeof call !== "string" || !isCallName(call)) {
    return `call names a function (add, Stack.of), got ${describeValue(call)}`
  }
  if (!Array.isArray(args)) return `args is a list, got ${describeValue(args)}`
  return equals === undefined ? "equals is missing" : undefined
}
