/**
 * What docs/getting-started.md shows of a whole run, step by step. The transcripts are made of
 * these (scripts/transcripts.ts), the page is held to them, and the journey in a pseudo-terminal
 * holds the program to the same lines (test/documents).
 */

export interface TranscriptStep {
  readonly name: "init" | "preview" | "probe" | "train" | "resume" | "chat" | "compare" | "export"
  /** What is typed; a command that the step before printed where it is left out. */
  readonly line?: string
  /** Finds the command in what the steps before showed. */
  readonly printed?: RegExp
  /** What every screen of this step has, whatever the model and the rows. */
  readonly shows: readonly RegExp[]
}

export const TRANSCRIPT_STEPS: readonly TranscriptStep[] = [
  {
    name: "init",
    line: "dftune init --yes --model base --train train.jsonl --lora",
    shows: [
      /# Found: \w+, [\d.]+M parameters; [\d,.k]+ rows, .* tokens/,
      /adapter: \{ type: lora, r: \d+, lora_alpha: \d+ \}/,
      /learning_rate: \S+ +# /,
      /batch_size: \d+ +# /,
      /next: dftune preview dftune\.yaml, then dftune train dftune\.yaml/,
    ],
  },
  {
    name: "preview",
    printed: /next: (dftune preview \S+),/,
    shows: [
      /train\.jsonl:1 \d+ tokens, \d+ trained/,
      /all [\d,]+ rows: .* trained \([\d.]+ %\)/,
      /next: dftune probe dftune\.yaml, /,
    ],
  },
  {
    name: "probe",
    printed: /next: (dftune probe \S+),/,
    shows: [
      /targets +.*mean p .*, nll .*, below 0\.1/,
      /suits +(dft|sft|either)/,
      /estimate: \d+ steps? in .*, .* of memory/,
      /next: dftune train dftune\.yaml/,
    ],
  },
  {
    name: "train",
    printed: /next: (dftune train \S+)/,
    shows: [
      /rows, .* tokens trained; \d+ steps of \d+ rows; memory about .* free/,
      /stopping with a checkpoint; Ctrl-C again stops now/,
      /to go on:\s+dftune train .*--resume/,
    ],
  },
  {
    name: "resume",
    printed: /to go on:\s+(dftune train .*--resume)/,
    shows: [
      /resumed from/,
      /done → runs\/my-run\/model/,
      /nll [\d.]+ → [\d.]+ over \d+ steps/,
      /^report +file:/m,
    ],
  },
  { name: "chat", printed: /^chat +(dftune .*)/m, shows: [/\/reset forgets the conversation/] },
  {
    name: "compare",
    printed: /^compare +(dftune .*)/m,
    shows: [/perplexity/, /nll [-+][\d.]+ \[.*\] of runs\/my-run beside/],
  },
  {
    name: "export",
    printed: /^export +(dftune [^(]*)/m,
    shows: [/read back: \d+ tensors/, /keeps [\d.]+ % of the adapter's effect/, /export\/merged$/],
  },
]

/** The line of a step, given what the screens before it showed. */
export function lineOf({ name, line, printed }: TranscriptStep, before: string): string {
  const found = line ?? printed?.exec(before)?.[1]?.trim()
  if (found === undefined) throw new Error(`${name}: no command for it in\n${before}`)
  return found
}
