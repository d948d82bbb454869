import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, describe, expect, test } from "vitest"
import { prepareData } from "../../src/data/prepare.ts"
import { openPrepared } from "../../src/data/prepared.ts"
import type { Purpose } from "../../src/data/rows/index.ts"
import type { ObjectiveSettings } from "../../src/objectives/index.ts"
import { objectiveFromConfig } from "../../src/objectives/index.ts"
import type { StepEvent } from "../../src/run/events.ts"
import { openDevice } from "../../src/runtime/node.ts"
import { type FixedBatches, labelBatches, pairBatches } from "../../src/train/batches.ts"
import { storesReference } from "../../src/train/objective-batches.ts"
import { withReference } from "../../src/train/reference-logprobs.ts"
import { trainSteps } from "../../src/train/trainer.ts"
import { GOLDEN, goldenPolicy } from "./golden-run.ts"
import { fixedOrder, memoryPairs, memoryRows, type PlainRow } from "./memory-rows.ts"
import { TRL_SETTINGS } from "./trl-settings.ts"

const device = await openDevice({ device: "cpu", threads: 1 })
const folder = mkdtempSync(join(tmpdir(), "dftune-trl-preference-"))
afterAll(async () => {
  await device.release()
  rmSync(folder, { recursive: true })
})

interface Row {
  readonly prompt: readonly number[]
  readonly chosen: readonly number[]
  readonly rejected: readonly number[]
}
interface Logged {
  readonly loss: number
  readonly grad_norm: number
  readonly "rewards/margins"?: number
  readonly kl?: number
}
interface Golden {
  readonly settings: {
    readonly steps: number
    readonly batch_size: number
    readonly learning_rate: number
  }
  readonly families: Readonly<
    Record<
      string,
      { readonly rows: readonly Row[]; readonly runs: Readonly<Record<string, readonly Logged[]>> }
    >
  >
}

/** What TRL's trainers logged: `golden/preference_trainers.py`. */
const golden = JSON.parse(readFileSync(`${GOLDEN}trl_preferences.json`, "utf8")) as Golden
const { steps, batch_size: size, learning_rate } = golden.settings

const OURS: Readonly<Record<string, ObjectiveSettings>> = {
  dpo: { name: "dpo" },
  "dpo-ipo": { name: "dpo", loss: "ipo" },
  "dpo-sft": { name: "dpo", sft: 0.5 },
  kto: { name: "kto" },
  cpo: { name: "cpo" },
  simpo: { name: "simpo", beta: 2, gamma: 1 },
  orpo: { name: "orpo" },
  "dpo.lora": { name: "dpo" },
}

const plain = ({ prompt }: Row, answer: readonly number[], value = 0): PlainRow => ({
  token_ids: [...prompt, ...answer],
  loss_mask: [...prompt.map(() => 0), ...answer.map(() => 1)],
  value,
})

/** TRL's rows in TRL's order; KTO's are one side of each in turn. */
function batchesOf(name: string, rows: readonly Row[]): FixedBatches {
  const order = Array.from({ length: steps * size }, (_, i) => i % rows.length)
  if (name !== "kto") {
    const pairs = rows.map((row) => ({
      chosen: plain(row, row.chosen),
      rejected: plain(row, row.rejected),
    }))
    return pairBatches(memoryPairs(pairs), fixedOrder(order, size, rows.length))
  }
  const labelled = order.map((i, k) =>
    plain(rows[i]!, k % 2 === 0 ? rows[i]!.chosen : rows[i]!.rejected, Number(k % 2 === 0)),
  )
  const straight = fixedOrder(
    labelled.map((_, k) => k),
    size,
    labelled.length,
  )
  return labelBatches(memoryRows(labelled), straight, { maxLength: 64 })
}

async function run(
  bare: FixedBatches,
  { family, name, capacity, of }: { family: string; name: string; capacity: number; of: string },
): Promise<StepEvent[]> {
  const objective = objectiveFromConfig(OURS[name]!)
  const adapter = name.endsWith(".lora")
  const policy = await goldenPolicy({ device, family, adapter })
  const split = { capacity, packing: true, together: true }
  const stored = storesReference(objective)
  const batches = stored
    ? await withReference(bare, {
        split,
        dir: folder,
        key: [of, family, name, capacity],
        // On top of an adapter that has learnt something, the reference is that adapter as it
        // started.
        model: async () => ({ decoder: policy.decoder, adapter: true }),
      })
    : bare
  const found: StepEvent[] = []
  const events = trainSteps({
    policy,
    objective,
    batches,
    split,
    evalSets: [],
    storedReference: stored,
    referenceIsStart: stored,
    memoryBytes: () => 0,
    save: async () => "nowhere",
    settings: {
      learning_rate,
      ...TRL_SETTINGS,
    },
  })
  for await (const event of events) if (event.type === "step") found.push(event as StepEvent)
  await policy.release()
  return found
}

const near = (a: number, b: number, floor = 1e-2) => Math.abs(a - b) / Math.max(floor, Math.abs(b))

function expectAlike(ours: readonly StepEvent[], logged: readonly Logged[], name: string) {
  expect(ours).toHaveLength(logged.length)
  ours.forEach((step, i) => {
    const theirs = logged[i]!
    expect(near(step.loss, theirs.loss), `loss of step ${i + 1}`).toBeLessThan(1e-3)
    expect(near(step.grad_norm, theirs.grad_norm), `gradient of step ${i + 1}`).toBeLessThan(1e-3)
    const margin = theirs["rewards/margins"]
    if (margin !== undefined && name !== "orpo")
      expect(Math.abs(step.reward_margin! - margin), `margin of step ${i + 1}`).toBeLessThan(2e-3)
  })
}

const cases = Object.entries(golden.families).flatMap(([family, { runs }]) =>
  Object.keys(runs).map((name) => [family, name] as const),
)

describe("20 steps of TRL's trainers on the same rows", () => {
  test.each(cases)("%s, %s: loss and gradient norm", async (family, name) => {
    const { rows, runs } = golden.families[family]!
    const ours = await run(batchesOf(name, rows), { family, name, capacity: 256, of: "ids" })
    expectAlike(ours, runs[name]!, name)
  })
})

/** What they logged on chats: `golden/preference_chats.py`. */
interface Chats {
  readonly tokenizer: object
  readonly template: string
  readonly rows: readonly object[]
  readonly labels: readonly object[]
  readonly ids: readonly (readonly number[])[]
  readonly runs: Readonly<Record<string, Readonly<Record<string, readonly Logged[]>>>>
}
const chats = JSON.parse(readFileSync(`${GOLDEN}trl_preference_chats.json`, "utf8")) as Chats

describe("20 steps of them on chats that share their beginning, with a call of a tool", async () => {
  const model = join(folder, "chats")
  mkdirSync(model)
  const settings = { eos_token: "</s>", unk_token: "<unk>", chat_template: chats.template }
  writeFileSync(join(model, "tokenizer.json"), JSON.stringify(chats.tokenizer))
  writeFileSync(join(model, "tokenizer_config.json"), JSON.stringify(settings))
  const prepared = async (name: string, rows: readonly object[], purpose: Purpose) => {
    const path = join(folder, `${name}.jsonl`)
    writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""))
    const { dir, lints } = await prepareData({
      sources: [{ path, weight: 1 }],
      tokenizer: model,
      purpose,
      cache: join(folder, "prepared"),
      workers: 0,
    })
    return { rows: await openPrepared(dir), lints: lints.map(({ code }) => code) }
  }
  const pairs = await prepared("pairs", chats.rows, "preference")
  const labels = await prepared("labels", chats.labels, "labels")

  test("the ids are TRL's", () => {
    const ids = chats.ids.map((_, i) => [...pairs.rows.pair(i).chosen.tokenIds])
    expect(ids).toEqual(chats.ids)
    expect(pairs.lints).toEqual([])
    expect(labels.lints).toEqual([])
  })

  const order = Array.from({ length: steps * size }, (_, i) => i % chats.rows.length)
  const straight = fixedOrder(order, size, chats.rows.length)
  // Every answer alone: the sides of each pair are in two micro-batches.
  const split = new Set(["qwen2 dpo", "qwen2 kto", "llama dpo"])
  const cases = Object.entries(chats.runs).flatMap(([family, runs]) =>
    Object.keys(runs).flatMap((name) =>
      (split.has(`${family} ${name}`) ? [1024, 8] : [1024]).map(
        (capacity) => [family, name, capacity] as const,
      ),
    ),
  )
  test.each(cases)("%s, %s: micro-batches of %i tokens", async (family, name, capacity) => {
    const batches = () =>
      name === "kto"
        ? labelBatches(labels.rows, straight, { maxLength: 128 })
        : pairBatches(pairs.rows, straight)
    const ours = await run(batches(), { family, name, capacity, of: "chats" })
    expectAlike(ours, chats.runs[family]![name]!, name)
  })
})
