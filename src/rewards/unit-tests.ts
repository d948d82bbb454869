/** A reward of programs: the share, or all, of a row's tests that pass in the sandbox. */
import { describeValue, isObject, type JsonObject } from "../formats/json.ts"
import { type CallTest, isCallName, openSandbox, type Sandbox } from "../sandbox/index.ts"
import { keysOf } from "./math.ts"
import type { RewardSample, RewardWork } from "./reward.ts"

const WANTED =
  'a list of tests { "call": "add", "args": [1, 2], "equals": 3 }: what is called, with which JSON values, and what it must return'

/** The last block of code of an answer, or all of it where it has none. */
const BLOCK = /```[^\n`]*\n([\s\S]*?)(?:\n[ \t]*```|$)/g

/**
 * 1 where every test of the row passes, else 0; with `score: share` the share that passes. The
 * program is the answer's last block of code. It runs sealed off, and never sees what is expected.
 */
export const unitTests: RewardWork = {
  rowProblem: (row, { key }) => testsProblem(row, String(key)),
  open({ key, score, seconds }) {
    // It tests itself at once: a run on a machine that cannot hold programs ends with its first rollout.
    const sandbox: Promise<Sandbox> = openSandbox({ seconds: Number(seconds) })
    sandbox.catch(() => {}) // told to whoever asks first
    const judged = async ({ completion, row }: RewardSample, signal?: AbortSignal) => {
      const { judge } = await sandbox
      const tests = row[String(key)] as unknown as readonly CallTest[]
      const { passed, share } = await judge(programIn(completion), tests, signal)
      return score === "share" ? share : Number(passed)
    }
    return {
      score: (samples, signal) => Promise.all(samples.map((sample) => judged(sample, signal))),
    }
  },
}

export function programIn(completion: string): string {
  return [...completion.matchAll(BLOCK)].at(-1)?.[1] ?? completion
}

/** What is wrong with a row's tests, to end the sentence "file:line: ..."; undefined when nothing. */
function testsProblem(row: JsonObject, key: string): string | undefined {
  const tests = row[key]
  if (tests === undefined) {
    return `the reward unit-tests needs ${WANTED}, under ${key}; the row has ${keysOf(row)}`
  }
  if (typeof tests === "string" && /\b(assert|def|import)\b/.test(tests)) {
    return `the reward unit-tests runs JavaScript, and ${key} is a text of Python: its programs have no sandbox here; write ${WANTED}, or judge them behind a server of your own ({ url: ... })`
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
