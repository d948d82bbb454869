import { spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type ConfigInput, parseConfig } from "../../../src/config/index.ts"
import { train } from "../../../src/engines/index.ts"
import { trainWithTorch } from "../../../src/engines/torch/torch-run.ts"
import { pairScores, sourceScores } from "../../../src/evaluate/pair-scores.ts"
import { objectiveToJson, tokenScales } from "../../../src/objectives/index.ts"
import type { EvalEvent, RunEvent, StepEvent } from "../../../src/run/events.ts"
import { openRewardModel } from "../../../src/train/reward-model.ts"
import { GOLDEN_CASES, stepTokens } from "../../objectives/golden-rl.ts"
import { preferenceRows } from "../../train/preference-rows.ts"
import { tinyModel } from "../../train/tiny-model.ts"
import { PYTHON, WITH_PYTHON } from "./python.ts"

const WORKER = fileURLToPath(new URL("../../../worker", import.meta.url))
let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "dftune-torch-preference-"))
  process.env.DFTUNE_CACHE = join(folder, "cache")
  preferenceRows(folder)
  const rows = readFileSync(join(folder, "pairs.jsonl"), "utf8").trim().split("\n")
  const margins = rows.map((row, i) => JSON.stringify({ ...JSON.parse(row), margin: i % 3 }))
  writeFileSync(join(folder, "margins.jsonl"), margins.join("\n"))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Every golden case through worker/expression.py, which says value and gradient of each token. */
const EVALUATE = `
import json, sys, torch
from dftune_worker import expression
expression.FROM_ROLLOUTS = ()
out = []
for case in json.load(open(sys.argv[1])):
    made = expression.Objective(case["objective"])
    sequence = torch.tensor(case["segments"])
    columns = {n: torch.tensor(v, dtype=torch.float64) for n, v in case["columns"].items()}
    gather = lambda mine: mine
    reduced = made.reduce(columns, sequence, gather)
    loss, gradients = made(columns, reduced)
    value, _ = made.told(columns, sequence, gather)
    told = loss if value is None else value
    out.append({"value": told.tolist(), "gradient": gradients["logp"].tolist()})
print(json.dumps(out))
`

describe.skipIf(!PYTHON)(`golden losses, ${WITH_PYTHON}`, () => {
  test("every one but those divided by max_tokens has TRL's value and gradient", {
    timeout: 120_000,
  }, () => {
    const cases = GOLDEN_CASES.filter(({ objective }) => objective.normalization !== "max_tokens")
    const asked = cases.map(({ objective, step }) => ({
      objective: objectiveToJson(objective),
      segments: [...step.segments],
      columns: Object.fromEntries(
        Object.entries(step.columns).map(([name, values]) => [
          name,
          typeof values === "number" ? values : [...values!],
        ]),
      ),
    }))
    const path = join(folder, "cases.json")
    writeFileSync(path, JSON.stringify(asked))
    const { stdout, stderr } = spawnSync(PYTHON!, ["-c", EVALUATE, path], {
      cwd: WORKER,
      encoding: "utf8",
      maxBuffer: 1 << 26,
    })
    expect(stderr).not.toContain("Error")
    const found: { value: number[]; gradient: number[] }[] = JSON.parse(stdout)
    cases.forEach((one, i) => {
      const { value, gradient } = found[i]!
      const scales = one.tokens
        ? new Float64Array(value.length).fill(1 / one.tokens)
        : tokenScales(one.objective.normalization, stepTokens(one.step))
      const total = value.reduce((sum, x, t) => sum + x * scales[t]!, 0)
      expect(Math.abs(total - one.loss), one.name).toBeLessThan(1e-6)
      one.gradient.forEach((expected, t) => {
        expect(Math.abs(gradient[t]! * scales[t]! - expected), one.name).toBeLessThan(1e-6)
      })
    })
  })
})

const SAME_STEP = [
  ...(["loss", "nll", "grad_norm", "entropy", "reward_chosen", "reward_rejected"] as const),
  ...(["reward_margin", "reward_accuracy", "logp_chosen", "nll_chosen", "kl_step"] as const),
] as const
// At the reference itself margins are rounding, and so is whose side is ahead.
const SAME_EVAL = ["loss", "nll", "mean_p", "reward_margin"] as const

function apart(a: number | undefined, b: number | undefined, floor: number): number {
  if (a === undefined || b === undefined) return a === b ? 0 : Number.POSITIVE_INFINITY
  return Math.abs(a - b) / Math.max(floor, Math.abs(a))
}

const CASES: readonly {
  name: string
  file: string
  more: Partial<ConfigInput>
  processes: number
}[] = [
  {
    name: "dpo",
    processes: 2,
    file: "pairs",
    more: { objective: { name: "dpo", sft: 0.2, sft_weight: "dft" } as never },
  },
  { name: "orpo", processes: 1, file: "pairs", more: { objective: "orpo" } },
  {
    name: "dpo-lora",
    processes: 1,
    file: "pairs",
    more: { objective: "dpo", adapter: { r: 4 }, learning_rate: 1e-2 },
  },
  { name: "kto", processes: 2, file: "labels", more: { objective: "kto" } },
  {
    name: "reward",
    processes: 2,
    file: "margins",
    more: { objective: { name: "reward", center_rewards_coefficient: 0.01 } as never },
  },
  {
    name: "reward-lora",
    processes: 1,
    file: "pairs",
    more: { objective: "reward", adapter: { r: 4 }, learning_rate: 1e-2 },
  },
  { name: "offline-pg", processes: 1, file: "rewards", more: { objective: "offline-pg" } },
]

describe.skipIf(!PYTHON)(`6 steps in float32, ${WITH_PYTHON}`, () => {
  test.each(CASES)(
    "$name: local engine, and the worker in $processes",
    { timeout: 400_000 },
    async ({ name, file, more, processes }) => {
      const config = (engine: ConfigInput["engine"], run: string) =>
        parseConfig({
          model: tinyModel(folder),
          data: {
            train: [join(folder, `${file}.jsonl`)],
            eval: [join(folder, `${file}.jsonl`)],
            max_length: 64,
          },
          learning_rate: 2e-3,
          batch_size: 5,
          micro_batch_tokens: 64,
          max_steps: 6,
          save_steps: 0,
          eval_steps: 3,
          ...more,
          engine,
          output_dir: join(folder, `${name}-${run}`),
        })
      const torch = { name: "torch", dtype: "fp32", python: PYTHON!, nproc_per_node: 1 } as const
      const local = await eventsOf(
        train(config({ name: "onnx", device: "cpu", threads: 1 }, "local")),
      )
      const engine = { ...torch, nproc_per_node: processes }
      const other = await eventsOf(trainWithTorch(config(engine, "torch")))
      expect(other.steps).toHaveLength(6)
      local.steps.forEach((step, i) => {
        const there = other.steps[i]!
        for (const key of SAME_STEP) {
          const what = `${key} of step ${i + 1}: ${step[key]} and ${there[key]}`
          expect(apart(step[key], there[key], 1e-2), what).toBeLessThan(1e-4)
        }
      })
      expect(other.evals).toHaveLength(local.evals.length)
      local.evals.forEach((one, i) => {
        const there = other.evals[i]!
        for (const key of SAME_EVAL) {
          const what = `${key} of eval ${i}: ${one[key]} and ${there[key]}`
          expect(apart(one[key], there[key], 1e-2), what).toBeLessThan(1e-4)
        }
      })
      if (!name.startsWith("reward")) return
      const scores = await Promise.all(
        ["local", "torch"].map((run) => scoresOf(join(folder, `${name}-${run}`))),
      )
      scores[0]!.forEach((score, i) => {
        expect(Math.abs(score - scores[1]![i]!)).toBeLessThan(1e-4)
      })
    },
  )
})

/** What a trained reward model says of the pairs, as its folder is opened again. */
async function scoresOf(run: string): Promise<number[]> {
  const model = await openRewardModel(run)
  try {
    const files = [join(folder, "pairs.jsonl")]
    const found = await pairScores(model, { files, maxLength: 64 })
    const [source] = sourceScores(found)
    return [source!.reward_chosen!, source!.reward_rejected!, source!.reward_margin!]
  } finally {
    await model.release()
  }
}

async function eventsOf(run: AsyncIterable<RunEvent> & { result: Promise<unknown> }) {
  const steps: StepEvent[] = []
  const evals: EvalEvent[] = []
  for await (const event of run) {
    if (event.type === "step") steps.push(event)
    if (event.type === "eval") evals.push(event)
  }
  await run.result
  return { steps, evals }
}
