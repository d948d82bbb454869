import { spawn } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { availableParallelism, cpus, tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import * as ort from "onnxruntime-node"
import { type Graph, graph, input } from "../src/graph/index.ts"
import { blockGraphs } from "../src/models/block/block-graphs.ts"
import { keyBegins, packLayout } from "../src/models/decoder/pack.ts"
import { modelConfig } from "../src/models/families/model-config.ts"
import type { LayerKind } from "../src/models/families/shape.ts"
import {
  type Device,
  type DeviceTensor,
  type Executable,
  float32,
  int64,
  onnxModel,
} from "../src/runtime/index.ts"
import { openDevice } from "../src/runtime/node.ts"

const TOKENS = 1024
const ROUNDS = 7
/** Qwen2.5-0.5B. */
export const { shape: QWEN_HALF_B } = modelConfig({
  model_type: "qwen2",
  hidden_size: 896,
  intermediate_size: 4864,
  num_hidden_layers: 24,
  num_attention_heads: 14,
  num_key_value_heads: 2,
  vocab_size: 151936,
  rms_norm_eps: 1e-6,
  rope_theta: 1e6,
  tie_word_embeddings: true,
  max_position_embeddings: 32768,
})
const [kind] = QWEN_HALF_B.layers as [LayerKind]
/** Linear layers of a block: in, out. */
const LINEARS = [
  [896, 896],
  [896, 128],
  [896, 128],
  [896, 896],
  [896, 4864],
  [896, 4864],
  [4864, 896],
] as const

type Feeds = Record<string, DeviceTensor>
type Numbers = { readonly [name: string]: number }

export const median = (values: readonly number[]) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!
export const timed = async (f: () => Promise<unknown>) => {
  const start = performance.now()
  await f()
  return performance.now() - start
}

function random(shape: readonly number[], scale: number) {
  const size = shape.reduce((product, dim) => product * dim, 1)
  let state = 1
  return float32(
    shape,
    Float32Array.from({ length: size }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      return (state / 2 ** 31 - 1) * scale
    }),
  )
}

/** Floating-point operations of the linear layers, and of attention where the mask lets it see. */
function operations() {
  const weights = LINEARS.reduce((sum, [rows, columns]) => sum + rows * columns, 0)
  const linear = 2 * TOKENS * weights
  const { numAttentionHeads: heads, headDim } = QWEN_HALF_B
  const product = (2 * heads * headDim * (TOKENS * (TOKENS + 1))) / 2
  return { forward: linear + 2 * product, backward: 2 * linear + 5 * product, linear }
}

async function blockInputs(device: Device, graphs: readonly Graph[]): Promise<Feeds> {
  const layout = packLayout({ lengths: [TOKENS] }, TOKENS)
  const begins = keyBegins(layout, undefined)
  const feeds: Feeds = {
    ends: await device.upload(int64([TOKENS], layout.ends)),
    key_begins: await device.upload(int64([begins.length], begins)),
  }
  for (const { name, shape } of graphs.flatMap((each) => each.inputs)) {
    if (name in feeds || name.startsWith("saved.")) continue
    const scale = name.endsWith("proj.weight") ? 0.03 : 1
    feeds[name] = await device.upload(random(shape as readonly number[], scale))
  }
  return feeds
}

/** Forward and backward of the block, results into the same buffers every time. */
export async function blockRuns(device: Device) {
  const start = performance.now()
  const graphs = blockGraphs({ shape: QWEN_HALF_B, kind, tokens: TOKENS }, "keep")
  const forward = await device.compile(graphs.forward)
  const backward = await device.compile(graphs.backward)
  const compile = performance.now() - start
  const feeds = await blockInputs(device, [graphs.forward, graphs.backward])
  let saved: Feeds = {}
  let results: Feeds = {}
  const accumulators: Feeds = {}
  for (const name of Object.keys(feeds)) {
    if (name.startsWith("acc.")) accumulators[name.replace("acc.", "grad.")] = feeds[name]!
  }
  const reusable = (tensors: Feeds, { graph }: Executable) => {
    const fixed = graph.outputs.filter(({ shape }) => shape.every((dim) => typeof dim === "number"))
    return Object.fromEntries(
      fixed.flatMap(({ name }) => (tensors[name] ? [[name, tensors[name]]] : [])),
    )
  }
  return {
    compile,
    graphs,
    feeds,
    forward: async () => {
      saved = await forward.run(feeds, { into: reusable(saved, forward) })
    },
    backward: async () => {
      const into = { ...reusable(results, backward), ...accumulators }
      results = await backward.run({ ...feeds, ...saved }, { into })
      for (const name of Object.keys(accumulators)) {
        accumulators[name] = results[name]!
        feeds[name.replace("grad.", "acc.")] = results[name]!
      }
    },
    saved: () => saved,
  }
}

/** The same products alone: y = x W^T, dx = dy W, dW = dy^T x for every linear layer. */
async function gemms(device: Device) {
  const runs: (() => Promise<unknown>)[] = []
  for (const [rows, columns] of LINEARS) {
    const x = input("x", [TOKENS, rows])
    const w = input("w", [columns, rows])
    const dy = input("dy", [TOKENS, columns])
    const feeds = {
      x: await device.upload(random([TOKENS, rows], 1)),
      w: await device.upload(random([columns, rows], 0.03)),
      dy: await device.upload(random([TOKENS, columns], 1)),
    }
    for (const y of [x.matmul(w, { transB: true }), dy.matmul(w), dy.matmul(x, { transA: true })]) {
      const executable = await device.compile(graph("product", { y }))
      let into: Feeds = {}
      runs.push(async () => {
        into = await executable.run(feeds, { into })
      })
    }
  }
  return async () => {
    for (const run of runs) await run()
  }
}

interface Torch {
  readonly versions: string
  round(): Promise<{ forward: number; backward: number }>
  stop(): void
}

/** PyTorch on the same block, or why it is not there. */
async function pytorch(threads: number): Promise<Torch | string> {
  const python = process.env.DFTUNE_PYTHON ?? "/opt/torch-venv/bin/python"
  if (!existsSync(python)) return `absent: no ${python} (set DFTUNE_PYTHON)`
  const script = fileURLToPath(new URL("./block.py", import.meta.url))
  const child = spawn(python, [script, `${TOKENS}`, `${threads}`], {
    stdio: ["pipe", "pipe", "ignore"],
  })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const next = async () => {
    const { value, done } = await lines.next()
    return done ? undefined : JSON.parse(value)
  }
  const versions = await next()
  if (!versions) return `absent: ${python} could not run bench/block.py`
  return {
    versions: `PyTorch ${versions.torch}, Transformers ${versions.transformers}`,
    round: async () => {
      child.stdin.write("\n")
      return next()
    },
    stop: () => child.kill(),
  }
}

const PRODUCTS = new Set(["Gemm", "FusedGemm", "MatMul", "FusedMatMul"])

/** Milliseconds by kind of kernel from ONNX Runtime's own profile, of the last of three runs. */
async function profile(traced: Graph, feeds: Feeds, threads: number): Promise<Map<string, number>> {
  const folder = mkdtempSync(join(tmpdir(), "dftune-profile-"))
  const session = await ort.InferenceSession.create(onnxModel(traced, "cpu"), {
    executionProviders: ["cpu"],
    intraOpNumThreads: threads,
    enableMemPattern: false,
    logSeverityLevel: 3,
    enableProfiling: true,
    profileFilePrefix: join(folder, "p"),
  })
  const tensors = Object.fromEntries(
    traced.inputs.map(({ name, dtype }) => {
      const { data, shape } = feeds[name]!
      const type = dtype === "i64" ? "int64" : "float32"
      return [name, new ort.Tensor(type, data as Float32Array, shape)]
    }),
  )
  for (let i = 0; i < 3; i++) await session.run(tensors)
  session.endProfiling()
  await session.release()
  const events = JSON.parse(readFileSync(join(folder, readdirSync(folder)[0]!), "utf8")) as {
    cat: string
    name: string
    ts: number
    dur: number
    args: { op_name?: string }
  }[]
  rmSync(folder, { recursive: true })
  const last = events.filter(({ name }) => name === "model_run").at(-1)!
  const times = new Map<string, number>()
  for (const { cat, name, ts, dur, args } of events) {
    if (cat !== "Node" || !name.endsWith("_kernel_time") || ts < last.ts) continue
    const kind = args.op_name!
    times.set(kind, (times.get(kind) ?? 0) + dur / 1e3)
  }
  return times
}

type Block = Awaited<ReturnType<typeof blockRuns>>

/** Medians of what takes turns, in milliseconds; the first round warms up. */
async function inTurns(
  block: Block,
  products: () => Promise<unknown>,
  torch: Torch | string,
): Promise<Numbers> {
  const samples: Record<string, number[]> = {}
  const add = (name: string, value: number) => {
    samples[name] = [...(samples[name] ?? []), value]
  }
  for (let round = 0; round <= ROUNDS; round++) {
    const forward = await timed(block.forward)
    const backward = await timed(block.backward)
    const product = await timed(products)
    const theirs = typeof torch === "string" ? undefined : await torch.round()
    if (round === 0) continue
    add("forward", forward)
    add("backward", backward)
    add("both", forward + backward)
    add("products", product)
    if (!theirs) continue
    add("torch forward", theirs.forward)
    add("torch backward", theirs.backward)
    add("torch both", theirs.forward + theirs.backward)
  }
  if (typeof torch !== "string") torch.stop()

  return Object.fromEntries(Object.entries(samples).map(([k, v]) => [k, median(v)])) as Numbers
}

/** Milliseconds of each kind of operator, forward and backward. */
async function kernelTimes(block: Block, threads: number): Promise<Map<string, number>> {
  const kinds = new Map<string, number>()
  for (const [traced, feeds] of [
    [block.graphs.forward, block.feeds],
    [block.graphs.backward, { ...block.feeds, ...block.saved() }],
  ] as const) {
    for (const [kind, time] of await profile(traced, feeds, threads)) {
      kinds.set(kind, (kinds.get(kind) ?? 0) + time)
    }
  }
  return kinds
}

/**
 * `npm run bench -- block [--threads N]`: one Qwen2.5-0.5B block, 1,024 tokens, forward and backward
 * in float32, beside the products of its own shapes alone and beside PyTorch, in turns.
 */
export async function run(args: readonly string[]): Promise<void> {
  const at = args.indexOf("--threads")
  const threads = at >= 0 ? Number(args[at + 1]) : availableParallelism()
  const device = await openDevice({ device: "cpu", threads })
  const block = await blockRuns(device)
  const products = await gemms(device)
  const torch = await pytorch(threads)

  const ms = await inTurns(block, products, torch)
  const flops = operations()
  const rate = (operations: number, milliseconds: number) => operations / milliseconds / 1e6
  const gemmRate = rate(3 * flops.linear, ms.products!)
  const blockRate = rate(flops.forward + flops.backward, ms.both!)

  const kinds = await kernelTimes(block, threads)
  const kernels = [...kinds.values()].reduce((sum, time) => sum + time, 0)
  const elementwise = [...kinds].reduce((sum, [k, time]) => sum + (PRODUCTS.has(k) ? 0 : time), 0)

  const rows: (readonly [string, string])[] = [
    ["machine", `${cpus()[0]?.model.trim()}, ${threads} threads`],
    ["compile, forward and backward", `${block.compile.toFixed(0)} ms (one pair for all layers)`],
    [
      "forward",
      `${ms.forward!.toFixed(0)} ms, ${rate(flops.forward, ms.forward!).toFixed(0)} GFLOP/s`,
    ],
    [
      "backward",
      `${ms.backward!.toFixed(0)} ms, ${rate(flops.backward, ms.backward!).toFixed(0)} GFLOP/s`,
    ],
    ["forward and backward", `${ms.both!.toFixed(0)} ms, ${blockRate.toFixed(0)} GFLOP/s`],
    ["its products alone (Gemm)", `${ms.products!.toFixed(0)} ms, ${gemmRate.toFixed(0)} GFLOP/s`],
    ["block's rate / Gemm's rate", (blockRate / gemmRate).toFixed(2)],
    [
      "all that is no product",
      `${((100 * elementwise) / kernels).toFixed(1)} % of the kernels' time`,
    ],
    typeof torch === "string"
      ? ["PyTorch float32", torch]
      : [
          torch.versions,
          `${ms["torch forward"]!.toFixed(0)} + ${ms["torch backward"]!.toFixed(0)} ms, ` +
            `${(ms["torch both"]! / ms.both!).toFixed(2)} times ours`,
        ],
  ]
  for (const [name, value] of rows) console.error(`${name.padEnd(36)}${value}`)
  const json = {
    tokens: TOKENS,
    threads,
    compile_ms: block.compile,
    milliseconds: ms,
    gflops: { block: blockRate, gemm: gemmRate },
    rate_of_gemm: blockRate / gemmRate,
    not_products: elementwise / kernels,
    kernels_ms: Object.fromEntries([...kinds].sort((a, b) => b[1] - a[1])),
    pytorch: typeof torch === "string" ? torch : torch.versions,
  }
  console.log(JSON.stringify(json))
  await device.release()
}
