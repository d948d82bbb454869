/** Judges Python programs by running them against a problem's tests, sealed off. */
import { parseJson } from "../../formats/json.ts"
import { openPythonSandbox, type PythonTests } from "../../sandbox/python.ts"
import { type JudgedItem, plainVerdict, type SuiteJudge } from "./judge.ts"

const VERSION = "programs-2"

/** What a suite of programs writes as gold, as JSON. */
export interface ProgramGold extends PythonTests {
  readonly tests: string
  /** The function that is asked for. */
  readonly entry: string
  /**
   * Code that a continuation is put behind; an answer with a whole function needs its beginning.
   */
  readonly prompt: string
}

/** @throws InputError where programs cannot be run on this machine */
export async function programJudge(onNotice?: (message: string) => void): Promise<SuiteJudge> {
  const sandbox = await openPythonSandbox({}, onNotice)
  const judged = async ({ completion, gold: text }: JudgedItem, signal?: AbortSignal) => {
    const gold = parseJson(text, "a problem's tests") as unknown as ProgramGold
    const program = programOf(completion, gold)
    const { passed, problem } = await sandbox.judge(program, gold, signal)
    const reason = passed ? "all tests passed" : (problem ?? "a test failed")
    return plainVerdict({ correct: passed, extracted: program, gold: gold.tests, reason }, VERSION)
  }
  return {
    judge: (items, signal) => Promise.all(items.map((item) => judged(item, signal))),
    [Symbol.asyncDispose]: () => sandbox.close(),
  }
}

/** Blocks of code as Markdown has them, the last one perhaps cut off: indent, fence, code. */
const BLOCK = /(?:^([ \t]+))?(?<![`~])(`{3,}|~{3,})[^\n`]*\n([\s\S]*?)(?:\n[ \t]*\2|(?![\s\S]))/gm
/** Where a continuation has left the function that it continues (HumanEval's stop sequences). */
const NEXT_STATEMENT = /\n(?=class |def |async def |@|#|if |print\(|print |import |from |```|<)/

/**
 * The program in an answer: the block of code that defines what is asked for (else the last one),
 * or the text itself. What defines the function stands alone, behind the imports and helpers that
 * the problem gave; anything else continues the problem's code.
 */
export function programOf(completion: string, { entry, prompt }: ProgramGold): string {
  const defines = (code: string) =>
    new RegExp(`^(?:async )?(?:def|class) ${entry}\\b|^${entry}\\s*=`, "m").test(code)
  const blocks = [...completion.matchAll(BLOCK)].map(([, indent = "", , code]) =>
    unindented(code!, indent.length),
  )
  const code = blocks.findLast(defines) ?? blocks.at(-1) ?? completion
  if (defines(code)) return `${beforeEntry(prompt, entry)}\n${code}`
  return prompt + (blocks.length > 0 ? code : code.split(NEXT_STATEMENT)[0]!)
}

/** A block in a list is indented as a whole. */
const unindented = (code: string, columns: number): string =>
  columns === 0 ? code : code.replaceAll(new RegExp(`^[ \\t]{1,${columns}}`, "gm"), "")

function beforeEntry(prompt: string, entry: string): string {
  const at = prompt.search(new RegExp(`^(?:async )?def ${entry}\\b`, "m"))
  return at < 0 ? prompt : prompt.slice(0, at)
}
