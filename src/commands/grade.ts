import { type Command, Option } from "commander"
import { grade } from "../evaluate/grade.ts"
import { type GradeSummary, MODES, type Mode, PAIRINGS, type Pairing } from "../evaluate/index.ts"
import { interruptible } from "./shell/interrupt.ts"
import { wholeFrom } from "./shell/option-values.ts"
import { outliveReaders } from "./shell/output.ts"
import { progressLine } from "./shell/progress-line.ts"
import { print, printJson, say } from "./shell/terminal.ts"

interface Options {
  readonly out?: string
  readonly mode: Mode
  readonly keep?: "correct"
  readonly pairs?: Pairing | true
  readonly labels?: boolean
  readonly maxPerPrompt?: number
  readonly dedupe?: boolean
  readonly balance?: boolean
  readonly seed: number
  readonly json?: boolean
}

async function run(path: string, options: Options, signal: AbortSignal): Promise<void> {
  const { json, ...given } = options
  const { out } = options
  if (out !== undefined) outliveReaders()
  const { show, clear } = progressLine()
  try {
    const onRow = out === undefined ? printJson : undefined
    const summary = await grade(path, { ...given, onRow, signal, onProgress: show })
    clear()
    if (out !== undefined && json) printJson(summary)
    else say(summaryText(summary, writtenAs(options)))
    if (out !== undefined && !json) print(out)
  } finally {
    clear()
  }
}

/** What the rows written are called; undefined when all are. */
function writtenAs({ keep, pairs, labels }: Options): string | undefined {
  if (pairs) return "pairs written"
  if (labels) return "labelled rows written"
  return keep === undefined ? undefined : "rows kept"
}

function summaryText(summary: GradeSummary, written: string | undefined): string {
  const { rows, correct, undecided, no_answer, strict, lenient, prompts, prompts_solved } = summary
  const share = (count: number, of: number) => `${((100 * count) / of).toFixed(1)} %`
  return [
    `${correct} of ${rows} correct (${share(correct, rows)}; strict ${share(strict, rows)}, lenient ${share(lenient, rows)})`,
    `${prompts_solved} of ${prompts} prompts have a correct sample`,
    `${no_answer} without an answer, ${undecided} undecided`,
    ...(written ? [`${summary.kept} ${written}`] : []),
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
    .addOption(
      new Option(
        "--pairs [how]",
        "write preference rows: best (one a prompt, the best against the worst) or all",
      ).choices(PAIRINGS),
    )
    .option("--labels", "write rows with a label, for kto")
    .option("--max-per-prompt <k>", "at most k rows or pairs of a prompt", wholeFrom(1))
    .option("--dedupe", "with --keep and --labels: a prompt's repeated completions once")
    .option("--balance", "with --keep: as many rows from each quarter of difficulty")
    .option(
      "--seed <seed>",
      "of the draws that --balance, --pairs and --labels make",
      wholeFrom(0),
      0,
    )
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
