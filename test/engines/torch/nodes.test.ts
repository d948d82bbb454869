import { type ChildProcess, spawn } from "node:child_process"
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type Config, type ConfigInput, parseConfig } from "../../../src/config/index.ts"
import type { Run } from "../../../src/engines/engine.ts"
import { trainWithTorch } from "../../../src/engines/torch/torch-run.ts"
import type { RunEvent, StepEvent } from "../../../src/run/events.ts"
import { DFTUNE } from "../../dftune.ts"
import { sumRows, tinyModel } from "../../train/tiny-model.ts"
import { PYTHON, WITH_PYTHON } from "./python.ts"

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "dftune-nodes-"))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function configOf(name: string, nnodes: number, more: Partial<ConfigInput> = {}) {
  return {
    model: tinyModel(folder),
    data: { train: [{ path: sumRows(folder, 24) }], max_length: 64 },
    learning_rate: 2e-3,
    batch_size: 6,
    micro_batch_tokens: 128,
    max_steps: 6,
    save_steps: 0,
    eval_steps: 0,
    ...more,
    engine: { name: "torch", dtype: "fp32", nproc_per_node: 1, nnodes, python: PYTHON! },
    output_dir: join(folder, name),
  } satisfies ConfigInput
}

/** The arguments of two torchruns on this machine that meet over the loopback. */
async function meeting(): Promise<(node: number) => string[]> {
  const server = createServer()
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready))
  const { port } = server.address() as { port: number }
  await new Promise((closed) => server.close(closed))
  const endpoint = `--rdzv-endpoint=127.0.0.1:${port}`
  const shared = ["--rdzv-backend=c10d", endpoint, `--rdzv-id=${port}`, "--local-addr=127.0.0.1"]
  return (node) => [...shared, `--node-rank=${node}`]
}

async function eventsOf(run: Run): Promise<RunEvent[]> {
  const events: RunEvent[] = []
  for await (const event of run) events.push(event)
  return events
}
const steps = (events: readonly RunEvent[]) =>
  events.filter((event): event is StepEvent => event.type === "step")
const written = (name: string) =>
  readFileSync(join(folder, name, "events.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as RunEvent)

describe.skipIf(!PYTHON)(`two nodes on one machine, ${WITH_PYTHON}`, () => {
  test("train what one does; rank 0 alone tells it", { timeout: 240_000 }, async () => {
    const alone = steps(await eventsOf(trainWithTorch(parseConfig(configOf("alone", 1)))))
    const args = await meeting()
    const node = (number: number) =>
      trainWithTorch(parseConfig(configOf("both", 2)), { torchrunArgs: args(number) })
    const [first, second] = [node(0), node(1)]
    const told = await Promise.all([eventsOf(first), eventsOf(second)])
    for (const events of told) {
      expect(steps(events)).toHaveLength(6)
      for (const [i, { loss, grad_norm }] of steps(events).entries()) {
        expect(Math.abs(loss / alone[i]!.loss - 1)).toBeLessThan(1e-4)
        expect(Math.abs(grad_norm / alone[i]!.grad_norm - 1)).toBeLessThan(1e-4)
      }
    }
    expect(await first.result).toEqual(await second.result)
    const events = written("both")
    expect(events.filter(({ type }) => type === "run.start")).toHaveLength(1)
    expect(events.filter(({ type }) => type === "run.end")).toHaveLength(1)
    expect(new Set(events.map((event) => JSON.stringify(event))).size).toBe(events.length)
  })

  test("Ctrl-C on one stops both with a checkpoint", { timeout: 240_000 }, async () => {
    const args = await meeting()
    const asked = parseConfig(configOf("stopped", 2, { max_steps: 400 }))
    const controller = new AbortController()
    const first = trainWithTorch(asked, { torchrunArgs: args(0) })
    const second = trainWithTorch(asked, { torchrunArgs: args(1), signal: controller.signal })
    const joined = async () => {
      for await (const event of second) if (event.type === "step") controller.abort()
    }
    await Promise.all([eventsOf(first), joined()])
    expect(await first.result).toMatchObject({ reason: "interrupted" })
    expect(await second.result).toMatchObject({ reason: "interrupted" })
    expect(written("stopped").at(-1)).toMatchObject({ type: "run.end", reason: "interrupted" })
  })

  test("a node that is killed ends the other with an error", { timeout: 240_000 }, async () => {
    const args = await meeting()
    const asked = configOf("killed", 2, { max_steps: 4000, save_steps: 2 })
    const path = join(folder, "killed.json")
    writeFileSync(path, JSON.stringify(asked))
    const command = [...DFTUNE, "launch", "torchrun", path, "--", ...args(1)]
    let second: ChildProcess | undefined
    const first = trainWithTorch(parseConfig(asked), { torchrunArgs: args(0) })
    const read = async () => {
      second = spawn(process.execPath, command, { stdio: "ignore" })
      for await (const event of first) if (event.type === "checkpoint") second.kill("SIGKILL")
    }
    await expect(read()).rejects.toThrow(/a process of this run is gone/)
    await expect(first.result).rejects.toThrow(/--resume/)
    expect(written("killed").at(-1)).toMatchObject({ type: "run.end", reason: "failed" })
  })

  const holdsRun = ({ output_dir: path }: Config) => {
    mkdirSync(join(path, "model"), { recursive: true })
    writeFileSync(join(path, "config.json"), JSON.stringify({ config: {}, versions: {} }))
  }
  const isNoModel = ({ model }: Config) =>
    writeFileSync(join(model, "model.safetensors"), "not a model")
  test.each([
    ["an output folder that is taken", holdsRun, /already holds a run/],
    ["a model that is none", isNoModel, /model.safetensors: expected a header/],
  ] as const)(
    "what node 0 refuses before it starts is what the other shows: %s",
    {
      timeout: 240_000,
    },
    async (name, spoil, message) => {
      const args = await meeting()
      const asked = parseConfig(configOf(`refused-${name.length}`, 2))
      spoil(asked)
      const nodes = [0, 1].map((n) => eventsOf(trainWithTorch(asked, { torchrunArgs: args(n) })))
      for (const { status, reason } of (await Promise.allSettled(
        nodes,
      )) as PromiseRejectedResult[]) {
        expect(status).toBe("rejected")
        expect(String(reason)).toMatch(message)
      }
    },
  )
})
