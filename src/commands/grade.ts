import { type Command, InvalidArgumentError, Option } from "commander"
import { InputError } from "../errors.ts"
import { type GradeSummary, gradeFile, MODES, type Mode } from "../evaluate/index.ts"
import { interruptible } from "./shell/interrupt.ts"
import { outliveReaders } from "./shell/output.ts"
import { print, printJson, progressLine, say } from "./shell/terminal.ts"

interface Options {
  readonly out?: string
  readonly mode: Mode
  readonly keep?: "correct"
  readonly maxPerPrompt?: number
  readonly dedupe?: boolean
  readonly balance?: boolean
  readonly seed: number
  readonly json?: boolean
}

function countFrom(least: number) {
  return (text: string): number => {
    const value = Number(text)
    if (Number.isSafeInteger(value) && value >= least) return value
    throw new InvalidArgumentError(`expected a whole number from ${least}`)
  }
}

async function run(path: string, options: Options, signal: AbortSignal): Promise<void> {
  const { out, mode, keep, maxPerPrompt, dedupe, balance, seed, json } = options
  if (out !== undefined) outliveReaders()
  if (keep === undefined && (maxPerPrompt !== undefined || dedupe || balance)) {
    throw new InputError("--max-per-prompt, --dedupe and --balance need --keep correct")
  }
  const { show, clear } = progressLine()
  try {
    const summary = await gradeFile(path, {
      mode,
      keep: keep && { dedupe: dedupe ?? false, maxPerPrompt, balance: balance ?? false, seed },
      out: out ?? printJson,
      signal,
      onProgress: (graded) => show(`${graded} graded`),
    })
    clear()
    if (out !== undefined && json) printJson({ out, mode, ...summary })
    else say(summaryText(summary, keep !== undefined))
    if (out !== undefined && !json) print(out)
  } finally {
    clear()
  }
}

function summaryText(summary: GradeSummary, kept: boolean): string {
  const { rows, correct, undecided, no_answer, strict, lenient, prompts, prompts_solved } = summary
  const share = (count: number, of: number) => `${((100 * count) / of).toFixed(1)} %`
  return [
    `${correct} of ${rows} correct (${share(correct, rows)}; strict ${share(strict, rows)}, lenient ${share(lenient, rows)})`,
    `${prompts_solved} of ${prompts} prompts have a correct sample`,
    `${no_answer} without an answer, ${undecided} undecided`,
    ...(kept ? [`${summary.kept} rows kept`] : []),
  ].join("\n")
}

export function command(verb: Command): void {
  verb
    .argument("<file>", "JSONL of samples: completion, and the gold answer under answer")
    .option("--out <file>", "JSONL to write; rows go to stdout without")
    .addOption(
      new Option("--mode <mode>", "how answers are judged").choices(MODES).default("lenient"),
    )
    .addOption(new Option("--keep <which>", "write only these rows").choices(["correct"]))
    .option("--max-per-prompt <k>", "with --keep: at most k rows of a prompt", countFrom(1))
    .option("--dedupe", "with --keep: a prompt's repeated completions once")
    .option("--balance", "with --keep: as many rows from each quarter of difficulty")
    .option("--seed <seed>", "of the draw that --balance makes", countFrom(0), 0)
    .option("--json", "with --out: print one JSON document about what was done")
    .addHelpText(
      "after",
      "\nAdds to each row: correct, extracted, gold, reason, and found, decided, strict, lenient.\n" +
        "A gold answer may be a bare value, GSM8K's `#### 72` or hold a \\boxed{}. See docs/grading.md.",
    )
    .action((file: string, options: Options) =>
      interruptible((signal) => run(file, options, signal)),
    )
}
