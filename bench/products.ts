/**
 * The three products of a linear layer (Qwen2.5-0.5B's up projection, 1,024 tokens) by our bfloat16
 * kernels, by ONNX Runtime's float32 ones and by PyTorch, and a whole block in both precisions:
 * GFLOP per CPU second of one thread.
 *
 *     npm run bench -- products [--rounds 3]
 *
 * PyTorch is DFTUNE_PYTHON's (or python3's). CPU time does not mind other work on the machine.
 */
import { spawnSync } from "node:child_process"
import { parseArgs } from "node:util"
import { graph, input } from "../src/graph/index.ts"
import { type Device, float32 } from "../src/runtime/index.ts"
import { bf16Kernel, openDevice } from "../src/runtime/node.ts"
import { blockRuns } from "./block.ts"
import { cpuClock } from "./setup/cpu-clock.ts"

const [T, C, I] = [1024, 896, 4864]
const OPERATIONS = 2 * T * C * I
const SHAPES = {
  "x W^T": { a: [T, C], b: [I, C], transB: true },
  "dY W": { a: [T, I], b: [I, C] },
  "dY^T x": { a: [T, I], b: [T, C], transA: true },
} as const
type Name = keyof typeof SHAPES
const NAMES = Object.keys(SHAPES) as Name[]

const PROGRAM = `
import json, time, torch
torch.set_num_threads(1)
t, c, i = ${T}, ${C}, ${I}
out = {}
for dtype in (torch.bfloat16, torch.float32):
    x, w, dy = (torch.randn(*s).to(dtype) for s in ((t, c), (i, c), (t, i)))
    for name, f in (("x W^T", lambda: x @ w.T), ("dY W", lambda: dy @ w), ("dY^T x", lambda: dy.T @ x)):
        best = 1e9
        for _ in range(8):
            start = time.process_time(); f(); best = min(best, time.process_time() - start)
        out[f"{name} {str(dtype)[6:]}"] = best
print(json.dumps(out))
`

async function best(run: () => Promise<unknown>): Promise<number> {
  let seconds = Number.POSITIVE_INFINITY
  for (let i = 0; i < 8; i++) {
    const start = cpuClock()
    await run()
    seconds = Math.min(seconds, cpuClock() - start)
  }
  return seconds
}

function random(...shape: number[]) {
  const size = shape.reduce((product, dim) => product * dim, 1)
  return float32(
    shape,
    Float32Array.from({ length: size }, () => Math.random() - 0.5),
  )
}

async function ours(device: Device): Promise<Record<Name, number>> {
  const found: Partial<Record<Name, number>> = {}
  for (const name of NAMES) {
    const { a, b, ...how } = SHAPES[name]
    const y = input("a", a).matmul(input("b", b), how)
    const executable = await device.compile(graph("product", { y }))
    const feeds = { a: await device.upload(random(...a)), b: await device.upload(random(...b)) }
    const into = { y: (await executable.run(feeds)).y! }
    found[name] = await best(() => executable.run(feeds, { into }))
    await executable.release()
  }
  return found as Record<Name, number>
}

function theirs(): Record<string, number> {
  const python = process.env.DFTUNE_PYTHON ?? "python3"
  const { status, stdout } = spawnSync(python, ["-c", PROGRAM], { encoding: "utf8" })
  return status === 0 ? JSON.parse(stdout) : {}
}

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({ args, options: { rounds: { type: "string", default: "3" } } })
  const plain = await openDevice({ device: "cpu", threads: 1 })
  const kernel = bf16Kernel()
  const fast = kernel ? await openDevice({ device: "cpu", threads: 1, dtype: "bf16" }) : undefined
  console.log(`bfloat16 by ${kernel ?? "nothing here"}`)
  const seconds = new Map<string, number>()
  const note = (name: string, value: number) =>
    seconds.set(name, Math.min(value, seconds.get(name) ?? Number.POSITIVE_INFINITY))
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const [name, value] of Object.entries(theirs())) note(`PyTorch ${name}`, value)
    for (const [name, value] of Object.entries(await ours(plain))) note(`float32 ${name}`, value)
    if (!fast) continue
    for (const [name, value] of Object.entries(await ours(fast))) note(`bfloat16 ${name}`, value)
  }
  for (const [name, value] of seconds) {
    console.log(`${name}: ${(OPERATIONS / value / 1e9).toFixed(0)} GFLOP/s`)
  }
  for (const device of [plain, ...(fast ? [fast] : [])]) {
    const { forward, backward } = await blockRuns(device)
    await forward()
    const [there, back] = [await best(forward), await best(backward)]
    console.log(
      `a block, ${device.products}: forward ${(1000 * there).toFixed(0)} ms, backward ${(1000 * back).toFixed(0)} ms`,
    )
    await device.release()
  }
}
