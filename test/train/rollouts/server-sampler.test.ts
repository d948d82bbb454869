import { cpSync, existsSync, mkdirSync, rmSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { parseConfig } from "../../../src/config/index.ts"
import { programKeys } from "../../../src/config/run-record.ts"
import { readChoice } from "../../../src/generate/endpoint-answer.ts"
import { type Serving, serve } from "../../../src/server/index.ts"
import { rolloutsOf, stepsOf, tinyRollouts } from "./tiny-rollouts.ts"

const { root, run, settings } = tinyRollouts()
const model = join(root, "model-start")
const live = join(root, "live")
let server: Serving
let source: { endpoint: string; model: string; api_key_env: string; sync: object | string }
beforeAll(async () => {
  cpSync(model, live, { recursive: true })
  const quiet = { port: 0, open: { threads: 1 } as const, say: () => {} }
  mkdirSync(join(root, "runs"))
  server = await serve({ dir: join(root, "runs"), models: [live], ...quiet })
  const { origin, searchParams } = new URL(server.url)
  process.env.RL_KEY = searchParams.get("token") ?? new URL(server.url).hash.replace(/^#token=/, "")
  source = { endpoint: origin, model: "live", api_key_env: "RL_KEY", sync: { folder: live } }
})
afterAll(async () => {
  await server.close()
  rmSync(root, { recursive: true, force: true })
})

test("dftune serve samples: each rollout from the weights of that moment, ids and all", async () => {
  mkdirSync(`${live}.old`)
  mkdirSync(`${live}.new`)
  const events = await run("served", { max_steps: 4, rollout: { source } })
  // what has a name like the folder's is somebody's
  for (const other of ["old", "new"]) expect(existsSync(`${live}.${other}`)).toBe(true)
  const rollouts = rolloutsOf(events)
  expect(stepsOf(events)).toHaveLength(4)
  expect(rollouts).toHaveLength(4)
  for (const { logp_difference, importance } of rollouts) {
    // in float32 it is the engine that trains, after a step of 1e-2 a stale one would be far off
    expect(logp_difference!.mean).toBeLessThan(1e-3)
    expect(importance).toBeUndefined()
  }
  for (const { ratio } of stepsOf(events)) expect(ratio!.max).toBeCloseTo(1, 3)
  expect(existsSync(join(root, "served", "delivered"))).toBe(false)
})

test("a rollout is drawn while the one before is trained, a step stale, and weighed for it", async () => {
  cpSync(model, live, { recursive: true })
  const rollout = { source, max_staleness: 1 }
  const more = { max_steps: 4, save_steps: 2, learning_rate: 1e-3, rollout }
  const events = await run("ahead", more)
  const rollouts = rolloutsOf(events)
  expect(rollouts.map(({ staleness }) => staleness)).toEqual([0, 1, 1, 1])
  expect(rollouts.map(({ policy_step }) => policy_step)).toEqual([0, 0, 1, 2])
  for (const { importance } of rollouts) expect(importance!.mean).toBeCloseTo(1, 1)
  // the policy has learnt since
  expect(rollouts[1]!.logp_difference!.max).toBeGreaterThan(rollouts[0]!.logp_difference!.max)
  // the ratio is to the policy before the step, whoever drew the samples
  for (const { ratio } of stepsOf(events)) expect(ratio!.max).toBeCloseTo(1, 3)
  const stop = new AbortController()
  const onEvent = ({ type, step }: { type: string; step: number }) =>
    type === "step" && step === 2 && stop.abort()
  await run("ahead-stopped", more, onEvent, stop.signal)
  // what was drawn ahead is drawn again, by the weights that are resumed with
  const resumed = rolloutsOf(await run("ahead-stopped", { ...more, resume: true }))
  expect(resumed.map(({ rollout }) => rollout)).toEqual([0, 1, 2, 3])
  expect(resumed.map(({ staleness }) => staleness)).toEqual([0, 1, 0, 1])
})

test("a server that never gets the weights is noticed by the probe, and the run stops", async () => {
  const stale = { ...source, sync: "true" }
  cpSync(model, live, { recursive: true })
  await expect(
    run("stale", { max_steps: 20, learning_rate: 5e-2, rollout: { source: stale } }),
  ).rejects.toThrow(/sampler-gap: .*look at rollout.source.sync/)
})

test("a command that fails ends the run with its words", async () => {
  const failing = { ...source, sync: "echo no such host >&2; exit 3" }
  await expect(run("failing", { rollout: { source: failing } })).rejects.toThrow(
    /rollout.source.sync: .*ended with 3: no such host/,
  )
})

test("a server that tells text alone is refused, with what to switch on", async () => {
  const bare = createServer((_, response) => {
    const choices = [{ index: 0, text: "12", finish_reason: "length" }]
    response.end(JSON.stringify({ choices }))
  })
  await new Promise<void>((done) => bare.listen(0, "127.0.0.1", done))
  const { port } = bare.address() as AddressInfo
  const text = { ...source, endpoint: `http://127.0.0.1:${port}`, sync: "true" }
  await expect(run("text", { rollout: { source: text } })).rejects.toThrow(
    /expected each sampled token's id and log-probability, got 0 token ids and 0 .*return_token_ids/,
  )
  bare.close()
})

test("what would be replaced is looked at before anything is sampled", async () => {
  const own = { ...source, sync: { folder: model } }
  await expect(run("own", { rollout: { source: own } })).rejects.toThrow(
    /sync.folder: .*is the model that is trained, and each rollout replaces it/,
  )
  const other = { ...source, sync: { folder: root } }
  await expect(run("other", { rollout: { source: other } })).rejects.toThrow(
    /sync.folder: .*holds something that no run delivered/,
  )
})

test("a temperature other than 1 is refused; a command needs approval from a run's own config", () => {
  const warm = settings("warm", { rollout: { source, temperature: 0.8 } })
  expect(() => parseConfig(warm)).toThrow(/rollout.temperature: 0.8: a server tells/)
  const config = parseConfig(settings("shell", { rollout: { source: { ...source, sync: "x" } } }))
  expect(programKeys(config).map(({ key }) => key)).toContain("rollout.source.sync")
})

test.each([
  ["vLLM", { token_ids: [5, 2], logprobs: { token_logprobs: [-1, -2] } }],
  ["llama.cpp", { logprobs: { content: [5, 2].map((id, i) => ({ id, logprob: -1 - i })) } }],
])("ids and log-probabilities as %s tells them", (_, choice) => {
  const body = { choices: [{ text: "5", finish_reason: "stop", ...choice }] }
  expect(readChoice(body, "there")).toMatchObject({ tokenIds: [5, 2], logprobs: [-1, -2] })
})
