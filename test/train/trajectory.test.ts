import { readdirSync, readFileSync } from "node:fs"
import { afterAll, describe, expect, test } from "vitest"
import { modelConfig } from "../../src/models/families/model-config.ts"
import { bf16Kernel, openDevice } from "../../src/runtime/node.ts"
import { routerAuxLossCoef } from "../../src/train/model-settings.ts"
import { apart, GOLDEN, type GoldenStep, goldenRun, goldenTrajectory } from "./golden-run.ts"

const device = await openDevice({ device: "cpu", threads: 2 })
afterAll(() => device.release())

const OBJECTIVES = {
  sft: "sft",
  dft: "dft",
  power: { name: "power", a: 0.5 },
  threshold: { name: "threshold", tau: 0.2 },
  alpha: { name: "alpha", a: 0.5 },
} as const
const FIELDS = ["loss", "nll", "grad_norm", "learning_rate"] as const

const families = readdirSync(`${GOLDEN}trajectory`).map((file) => file.replace(".json", ""))
describe.each(families)("the steps of %s are PyTorch's", (family) => {
  const golden = goldenTrajectory(family)

  const inFull = Object.entries(OBJECTIVES).filter(([name]) => golden.full[name])
  test.each(inFull)("%s", async (name, objective) => {
    const steps = await goldenRun({ device, family, objective })
    for (const field of FIELDS) {
      expect(apart(steps, golden.full[name]!.steps, field), field).toBeLessThan(1e-3)
    }
  })

  test.each(Object.keys(golden.lora))("%s of PEFT's adapter", async (objective) => {
    const steps = await goldenRun({ device, family, objective, adapter: true })
    for (const field of FIELDS) {
      expect(apart(steps, golden.lora[objective]!.steps, field), field).toBeLessThan(1e-3)
    }
  })
})

const readJson = (path: string) => JSON.parse(readFileSync(path, "utf8"))
const routers: {
  readonly router_aux_loss_coef: number
  readonly steps: Readonly<Record<string, Readonly<Record<"full" | "lora", GoldenStep[]>>>>
} = readJson(`${GOLDEN}routers.json`)

describe.each(Object.entries(routers.steps))(
  "with the auxiliary loss of routers the steps of %s are Transformers'",
  (family, golden) => {
    const run = {
      device,
      family,
      objective: "dft",
      routerAuxLossCoef: routers.router_aux_loss_coef,
    }
    test.each([
      ["full", {}],
      ["lora", { adapter: true }],
      ["full", { packing: false }],
      ["full", { capacity: 16 }],
    ] as const)("%s %o", async (kind, changes) => {
      const steps = await goldenRun({ ...run, ...changes })
      for (const field of ["aux_loss", "loss", "grad_norm"] as const) {
        expect(apart(steps, golden[kind], field), field).toBeLessThan(1e-4)
      }
    })
  },
)

describe.skipIf(bf16Kernel() === undefined)("the auxiliary loss of routers in bf16", () => {
  test.each(Object.entries(routers.steps))("%s", async (family, golden) => {
    const narrow = await openDevice({ device: "cpu", threads: 2, dtype: "bf16" })
    const coefficient = { routerAuxLossCoef: routers.router_aux_loss_coef }
    const run = { device: narrow, family, objective: "dft", ...coefficient }
    const [steps, split] = [await goldenRun(run), await goldenRun({ ...run, capacity: 16 })]
    await narrow.release()
    expect(apart(steps, golden.full, "aux_loss")).toBeLessThan(1e-2)
    expect(apart(steps, golden.full, "grad_norm")).toBeLessThan(0.1)
    expect(apart(steps, golden.full, "aux_loss")).toBeGreaterThan(1e-6)
    expect(apart(split, steps, "aux_loss")).toBeLessThan(1e-2)
  })
})

test.each([
  ["llama", "tokens", /this llama has no experts/],
  ["qwen3_moe", "weights", /normalization: weights/],
] as const)("the routers' loss of a %s under %s is refused", (family, normalization, message) => {
  const { shape } = modelConfig(readJson(`${GOLDEN}models/${family}/config.json`))
  const asked = (coefficient: number | null) =>
    routerAuxLossCoef({ router_aux_loss_coef: coefficient }, shape, { normalization })
  expect(() => asked(0.1)).toThrow(message)
  expect(asked(0)).toBe(0)
  expect(asked(null)).toBe(0)
})

describe("any split of a step into micro-batches gives the same run", () => {
  test.each(["tokens", "sequences", "weights"])("normalization: %s", async (normalization) => {
    const run = { device, family: "qwen2", objective: { name: "dft", normalization }, steps: 6 }
    const packed = await goldenRun(run)
    const alone = await goldenRun({ ...run, packing: false })
    for (const field of FIELDS) expect(apart(alone, packed, field), field).toBeLessThan(1e-3)
  })

  test("the paper's sum of micro-batch means does not, by construction", async () => {
    const objective = { name: "dft", normalization: "paper" }
    const run = { device, family: "qwen2", objective, steps: 2 }
    const packed = await goldenRun(run)
    const alone = await goldenRun({ ...run, packing: false })
    expect(alone[0]!.grad_norm / packed[0]!.grad_norm).toBeGreaterThan(2)
  })
})

test.each([
  [8, 0.02],
  [4, 0.3],
] as const)("an adapter on a base of %s bits starts near the float32 base", async (bits, near) => {
  const run = { device, family: "llama", objective: "sft", adapter: true, steps: 8 }
  const exact = await goldenRun(run)
  const coarse = await goldenRun({ ...run, bits })
  expect(apart(coarse.slice(0, 1), exact.slice(0, 1), "nll")).toBeLessThan(near)
  expect(coarse.at(-1)!.nll).toBeLessThan(coarse[0]!.nll)
})

test("a loss that is not finite stops the run and names the rows", async () => {
  const golden = goldenTrajectory("qwen2")
  const objective = {
    name: "broken",
    expression: {
      version: 1,
      // log(progress): minus infinity in the first step
      nodes: [
        { op: "input", name: "progress" },
        { op: "log", args: [0] },
        { op: "input", name: "logp" },
        { op: "mul", args: [1, 2] },
      ],
      output: 3,
    },
  }
  const run = { device, family: "qwen2", objective: objective as never, rows: golden.rows }
  await expect(goldenRun(run)).rejects.toThrow(/step 1: the loss is not a finite number.*memory:12/)
})
