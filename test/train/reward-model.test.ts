import { execFile } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import { pairScores, sourceScores } from "../../src/evaluate/pair-scores.ts"
import { openModel } from "../../src/generate/index.ts"
import { objectiveFromConfig } from "../../src/objectives/index.ts"
import type { EvalEvent, RunEvent, StepEvent } from "../../src/run/events.ts"
import { readRun } from "../../src/run/run-folder.ts"
import { loadTokenizer } from "../../src/text/index.ts"
import { refuseSettings } from "../../src/train/objective-batches.ts"
import { openRewardModel } from "../../src/train/reward-model.ts"
import { runHere } from "../../src/train/run.ts"
import { pythonWith } from "../python-with.ts"
import { preferenceRows } from "./preference-rows.ts"
import { tinyModel } from "./tiny-model.ts"

const root = mkdtempSync(join(tmpdir(), "dftune-reward-model-"))
afterAll(() => rmSync(root, { recursive: true, force: true }))

beforeAll(() => {
  process.env.DFTUNE_CACHE = join(root, "cache")
  tinyModel(root)
  preferenceRows(root)
})

const settings = (name: string, more: object = {}) => ({
  model: join(root, "model-start"),
  data: { train: [join(root, "pairs.jsonl")], eval: [join(root, "pairs.jsonl")], max_length: 64 },
  objective: "reward",
  batch_size: 4,
  micro_batch_tokens: 128,
  learning_rate: 1e-3,
  max_steps: 12,
  save_steps: 6,
  eval_steps: 0,
  engine: { name: "onnx", device: "cpu", threads: 1 },
  output_dir: join(root, name),
  ...more,
})

async function run(name: string, more: object = {}, signal?: AbortSignal) {
  for await (const _ of runHere(parseConfig(settings(name, more)), signal ? { signal } : {}));
  return readRun(join(root, name)).events
}

const stepsOf = (events: readonly RunEvent[]) =>
  events.filter((event): event is StepEvent => event.type === "step")
const evalsOf = (events: readonly RunEvent[]) =>
  events.filter((event): event is EvalEvent => event.type === "eval")

const ADAPTER = { adapter: { type: "lora", r: 4 }, learning_rate: 1e-2 }

test.each([
  ["full", {}],
  ["adapter", ADAPTER],
  ["adapter-int8", { ...ADAPTER, quantization: "int8" }],
])("a reward model learns pairs: %s", async (name, more) => {
  const [before, ...others] = evalsOf(await run(name, more))
  const after = others.at(-1)!
  expect(after.loss!).toBeLessThan(0.9 * before!.loss!)
  expect(after.reward_accuracy!).toBeGreaterThan(0.9)
  expect(after.reward_margin!).toBeCloseTo(after.reward_chosen! - after.reward_rejected!, 9)
  // of the verdicts: what the model is sure of
  expect(after.nll).toBeCloseTo(after.loss!, 6)
  expect(after.mean_p!).toBeGreaterThan(before!.mean_p!)
  expect(after.logp_chosen).toBeUndefined()
})

test("margins and centring change what is learnt", async () => {
  const rows = readFileSync(join(root, "pairs.jsonl"), "utf8").trim().split("\n")
  const margins = rows.map((row, i) => JSON.stringify({ ...JSON.parse(row), margin: i % 3 }))
  writeFileSync(join(root, "margins.jsonl"), margins.join("\n"))
  const first = async (name: string, more: object) =>
    stepsOf(await run(name, { max_steps: 1, ...more }))[0]!
  const plain = await first("plain", {})
  const data = { train: [join(root, "margins.jsonl")], max_length: 64 }
  const further = await first("further", { data })
  const objective = { name: "reward", center_rewards_coefficient: 1 }
  const centred = await first("centred", { objective })
  expect(further.loss).toBeGreaterThan(plain.loss + 0.05)
  expect(further.nll).toBeCloseTo(plain.nll, 6)
  expect(centred.loss).toBeGreaterThan(plain.loss)
})

test.each([
  ["full", {}],
  ["adapter", ADAPTER],
])("a resumed run gives the same bits: %s", async (kind, more) => {
  const stopped = new AbortController()
  const name = `resumed-${kind}`
  const config = parseConfig(settings(name, more))
  for await (const event of runHere(config, { signal: stopped.signal })) {
    if (event.type === "step" && event.step === 7) stopped.abort()
  }
  await run(name, { ...more, resume: true })
  const file = kind === "full" ? "model.safetensors" : "adapter_model.safetensors"
  const model = (of: string) => readFileSync(join(root, of, "model", file))
  expect(model(name).equals(model(kind))).toBe(true)
})

test("a reward model is trained on, and refused where a language model is expected", async () => {
  const trained = join(root, "full", "model")
  const [before] = evalsOf(await run("further-on", { model: trained, max_steps: 1 }))
  expect(before!.loss).toBeCloseTo(evalsOf(readRun(join(root, "full")).events).at(-1)!.loss!, 6)
  const [adapted] = evalsOf(await run("adapted-on", { ...ADAPTER, model: trained, max_steps: 1 }))
  expect(adapted!.loss).toBeCloseTo(before!.loss!, 6)
  await expect(run("sft", { model: trained, objective: "sft" })).rejects.toThrow("reward model")
  await expect(openModel(trained)).rejects.toThrow("it scores texts and predicts no token")
  await expect(openModel(join(root, "adapter", "model"))).rejects.toThrow("reward model's adapter")
})

test.each(["full", "adapter"])(
  "%s: opened again, it ranks the pairs as the run did",
  async (name) => {
    const model = await openRewardModel(join(root, name))
    try {
      const files = [join(root, "pairs.jsonl")]
      const scores = await pairScores(model, { files, maxLength: 64 })
      const [source] = sourceScores(scores)
      const told = evalsOf(readRun(join(root, name)).events).at(-1)!
      expect(source!.pairs).toBe(24)
      expect(source!.reward_accuracy).toBe(told.reward_accuracy)
      expect(source!.reward_margin).toBeCloseTo(told.reward_margin!, 4)
      expect(source!.reward_chosen).toBeCloseTo(told.reward_chosen!, 4)
      expect(source!.nll).toBeCloseTo(told.nll!, 5)
      const [low, high] = source!.reward_margin_ci95
      expect(source!.reward_margin).toBeGreaterThan(low)
      expect(source!.reward_margin).toBeLessThan(high)
    } finally {
      await model.release()
    }
    await expect(openRewardModel(join(root, "model-start"))).rejects.toThrow("is a language model")
  },
)

test("a reward model rewards samples: the score of the prompt with the sample", async () => {
  const rewards = [{ model: join(root, "full"), weight: 2 }]
  const rollout = { num_generations: 2, max_new_tokens: 8, keep: "all", rewards }
  const objective = "reinforce"
  const data = { train: [join(root, "pairs.jsonl")], max_length: 64 }
  const events = await run("rewarded", { objective, rollout, data, max_steps: 2 })
  const rollouts = events.filter((event) => event.type === "rollout")
  expect(Object.keys(rollouts[0]!.rewards)).toEqual(["full"])
  const told = readFileSync(join(root, "rewarded", "rollouts.jsonl"), "utf8")
    .trim()
    .split("\n")
  const model = await openRewardModel(join(root, "full"))
  const tokenizer = await loadTokenizer(model.textFolder)
  const eos = tokenizer.eosTokenId!
  for (const line of told) {
    const { prompt, completion, finish_reason, rewards } = JSON.parse(line)
    const ids = [...tokenizer.encode(prompt), ...tokenizer.encode(completion)]
    const [score] = await model.score([finish_reason === "length" ? ids : [...ids, eos]])
    expect(rewards.full).toBeCloseTo(score!, 4)
  }
  await model.release()
  const wrong = { ...rollout, rewards: [{ model: join(root, "model-start") }] }
  await expect(run("unrewarded", { objective, data, rollout: wrong })).rejects.toThrow(
    "a reward model is expected",
  )
})

test.each([
  [{ generate_samples: { prompts: 1, every: 1 } }, "generate_samples"],
  [{ engine: "torch" }, "engine: torch"],
])("%j is refused", async (more, message) => {
  await expect(run("refused", more)).rejects.toThrow(message)
})

const python = pythonWith("torch", "transformers", "peft")
const found = python ?? "absent: no Python with torch, transformers and peft; set DFTUNE_PYTHON"
const SCRIPT = fileURLToPath(new URL("./read-scores.py", import.meta.url))

describe.skipIf(!python)(`opened by Transformers (${found})`, () => {
  test.each(["full", "adapter"])(
    "%s: its scores give the run's own eval",
    async (name) => {
      const { stdout } = await promisify(execFile)(
        python!,
        [SCRIPT, join(root, name, "model"), join(root, "model-start"), join(root, "pairs.jsonl")],
        { env: { ...process.env, HF_HUB_OFFLINE: "1" } },
      )
      const { missing, chosen, rejected } = JSON.parse(stdout)
      const told = evalsOf(readRun(join(root, name)).events).at(-1)!
      expect(missing).toEqual([])
      expect(chosen).toBeCloseTo(told.reward_chosen!, 4)
      expect(rejected).toBeCloseTo(told.reward_rejected!, 4)
    },
    120_000,
  )
})

test.each([
  [{ router_aux_loss_coef: 0.1 }, "router_aux_loss_coef: 0.1"],
  [{ generate_samples: { every: 1 } }, "generate_samples"],
  [{ model_tokens: ["<new>"], engine: "torch" }, "model_tokens: engine: torch"],
])("%o is refused", (more, message) => {
  const config = parseConfig(settings("refused", more))
  expect(() => refuseSettings(objectiveFromConfig("reward"), config)).toThrow(message)
})
