/**
 * `npm run bench -- lm-eval --model MODEL --data gsm8k.jsonl [--limit 20] [--tokens 128]
 * [--only raw|chat]`: asks `dftune serve` through lm-evaluation-harness
 * (`pip install "lm-eval[api]"`), as completions and as chats, four requests at once, and compares
 * every answer and both scores with `dftune eval`. Exit code 1 where they differ. Needs no network.
 */
import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, join, resolve } from "node:path"
import { parseArgs } from "node:util"
import { BOXED_INSTRUCTION } from "../src/evaluate/prompts.ts"
import { ownCommand } from "../src/host/own-command.ts"
import { type Served, withServer } from "./setup/served.ts"

const TASK = "dftune_gsm8k"
/** The filter "flexible-extract" of lm-evaluation-harness' own gsm8k task: the last number. */
const LAST_NUMBER = "(-?[$0-9.,]{2,})|(-?[0-9]+)"
const CONCURRENT = 4

interface Kind {
  readonly model: "local-completions" | "local-chat-completions"
  readonly path: string
  readonly prompt: "raw" | "chat"
}
const KINDS: readonly Kind[] = [
  { model: "local-completions", path: "/v1/completions", prompt: "raw" },
  { model: "local-chat-completions", path: "/v1/chat/completions", prompt: "chat" },
]

interface Row {
  readonly question: string
  readonly answer: string
}

const task = (rows: string, prompt: Kind["prompt"], tokens: number) => `task: ${TASK}
dataset_path: json
dataset_kwargs:
  data_files: { test: ${JSON.stringify(rows)} }
test_split: test
output_type: generate_until
doc_to_text: ${JSON.stringify(prompt === "raw" ? "{{question}}" : `{{question}}\n${BOXED_INSTRUCTION}`)}
doc_to_target: "{{answer.split('####')[-1]}}"
num_fewshot: 0
generation_kwargs: { until: ["<|im_end|>"], do_sample: false, temperature: 0.0, max_gen_toks: ${tokens} }
filter_list:
  - name: last-number
    filter:
      - { function: regex, group_select: -1, regex_pattern: ${JSON.stringify(LAST_NUMBER)} }
      - { function: take_first }
metric_list:
  - { metric: exact_match, aggregation: mean, higher_is_better: true, regexes_to_ignore: [",", "\\\\$", "\\\\.$", "\\\\s"] }
`

/** What lm-evaluation-harness has been answered, in the order of the rows, and its score. */
function harness(kind: Kind, folder: string, { origin, token }: Served, model: string) {
  const out = join(folder, "out")
  const args = Object.entries({
    model,
    base_url: `${origin}${kind.path}`,
    num_concurrent: CONCURRENT,
    max_retries: 1,
    tokenized_requests: "False",
    ...(kind.prompt === "raw" ? { tokenizer_backend: "None" } : {}),
  }).map(([key, value]) => `${key}=${value}`)
  const { status, stderr } = spawnSync(
    process.env.DFTUNE_PYTHON ?? "python3",
    [
      ...["-m", "lm_eval", "--model", kind.model, "--model_args", args.join(",")],
      ...["--tasks", TASK, "--include_path", folder, "--output_path", out, "--log_samples"],
      ...(kind.prompt === "chat" ? ["--apply_chat_template"] : []),
    ],
    {
      encoding: "utf8",
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, OPENAI_API_KEY: token, HF_HUB_OFFLINE: "1" },
    },
  )
  if (status !== 0) throw new Error(`lm_eval ended with ${status}:\n${stderr.slice(-2000)}`)
  const files = readdirSync(out, { recursive: true, encoding: "utf8" })
  const find = (name: RegExp) => join(out, files.find((file) => name.test(file))!)
  const samples = readRows<{ doc_id: number; resps: string[][] }>(find(/samples_.*\.jsonl$/))
  samples.sort((a, b) => a.doc_id - b.doc_id)
  const { results } = JSON.parse(readFileSync(find(/results_.*\.json$/), "utf8")) as {
    results: Record<string, Record<string, number>>
  }
  return {
    texts: samples.map(({ resps }) => resps[0]![0]!),
    score: results[TASK]!["exact_match,last-number"]!,
  }
}

function dftune(verb: string, ...args: string[]): void {
  const [program, own] = ownCommand(verb, ...args)
  const { status, stderr } = spawnSync(program, own, { encoding: "utf8" })
  if (status !== 0) throw new Error(`dftune ${verb} ended with ${status}:\n${stderr}`)
}

const readRows = <T>(path: string): T[] =>
  readFileSync(path, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line))

const writeRows = (path: string, rows: readonly object[]) =>
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""))

/** By lm-evaluation-harness' rule: the last number is the gold one. */
function lastNumberScore(texts: readonly string[], rows: readonly Row[]): number {
  const plain = (text: string) => text.replaceAll(/[,$\s]|\.$/g, "")
  const right = texts.filter((text, i) => {
    const last = [...text.matchAll(new RegExp(LAST_NUMBER, "g"))].at(-1)?.[0] ?? "[invalid]"
    return plain(last) === plain(rows[i]!.answer.split("####").at(-1)!)
  })
  return right.length / texts.length
}

const share = (verdicts: readonly { correct: boolean }[]) =>
  verdicts.filter(({ correct }) => correct).length / verdicts.length

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      model: { type: "string" },
      data: { type: "string" },
      limit: { type: "string", default: "20" },
      tokens: { type: "string", default: "128" },
      only: { type: "string" },
    },
  })
  if (!values.model || !values.data)
    throw new Error("--model MODEL and --data gsm8k.jsonl are needed")
  const [limit, tokens] = [Number(values.limit), Number(values.tokens)]
  const dir = mkdtempSync(join(tmpdir(), "dftune-lm-eval-"))
  try {
    const rows = readRows<Row>(values.data).slice(0, limit)
    mkdirSync(join(dir, "suites", "gsm8k"), { recursive: true })
    mkdirSync(join(dir, "runs"))
    const file = join(dir, "suites", "gsm8k", "test.jsonl")
    writeRows(file, rows)
    let differing = 0
    for (const kind of KINDS.filter(({ prompt }) => (values.only ?? prompt) === prompt)) {
      const folder = join(dir, kind.prompt)
      mkdirSync(folder)
      writeFileSync(join(folder, `${TASK}.yaml`), task(file, kind.prompt, tokens))
      const served = await withServer(
        [join(dir, "runs"), "--model", values.model],
        async (server) => harness(kind, folder, server, basename(resolve(values.model!))),
      )
      const graded = join(folder, "graded.jsonl")
      const asked = join(folder, "asked.jsonl")
      writeRows(
        asked,
        rows.map(({ answer }, i) => ({ answer, completion: served.texts[i] })),
      )
      dftune("grade", asked, "--out", graded)
      const own = join(folder, "eval")
      dftune(
        "eval",
        ...[values.model, "--suite", "gsm8k", "--suite-dir", join(dir, "suites")],
        ...["--temperature", "0", "--prompt", kind.prompt],
        ...["--max-new-tokens", `${tokens}`, "--out", own],
      )
      const items = readRows<{ completion: string; correct: boolean }>(join(own, "gsm8k.jsonl"))
      const texts = items.map(({ completion }) => completion)
      const same = texts.filter((text, i) => text === served.texts[i]).length
      const scores = {
        "lm-eval's rule": [served.score, lastNumberScore(texts, rows)],
        "dftune's grader": [share(readRows(graded)), share(items)],
      }
      console.log(`${kind.model}: ${same} of ${rows.length} answers are the same`)
      for (const [rule, [theirs, ours]] of Object.entries(scores)) {
        console.log(`  ${rule}: ${theirs} through the API, ${ours} by dftune eval`)
        if (theirs !== ours) differing++
      }
      differing += rows.length - same
    }
    if (differing > 0) process.exitCode = 1
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}
