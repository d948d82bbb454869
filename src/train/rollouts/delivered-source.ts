/**
 * A server that samples: it gets the weights before each rollout, and is asked whether it has them.
 */
import { createHash } from "node:crypto"
import { InputError } from "../../errors.ts"
import { EndpointSource } from "../../generate/endpoint.ts"
import type { Sample, SampleRequest, SampleSource } from "../../generate/sample-source.ts"
import { mean } from "./advantages.ts"
import { type DeliveryParts, deliver } from "./delivery.ts"

export interface DeliveredSourceParts extends DeliveryParts {
  /** ln p of each sampled token under the policy as it is. */
  readonly measure: (prompt: readonly number[], sampled: readonly number[]) => Promise<Float32Array>
  /** The prompt that the server is probed with. */
  readonly probe: readonly number[]
  /** Tokens that end a sample, and texts that do. */
  readonly stopIds: ReadonlySet<number>
  readonly stop: readonly string[]
}

const PROBE_TOKENS = 16
/** Nats apart on average, over the probe's tokens, that are no rounding. */
const WRONG_MODEL = 0.1

export interface DeliveredSource extends SampleSource {
  /** Gives the server the policy as it is, and asks whether it has it. */
  ready(rollout: number, signal?: AbortSignal): Promise<void>
}

export function deliveredSource(parts: DeliveredSourceParts): DeliveredSource {
  const { config } = parts
  const key = config.api_key_env === null ? undefined : process.env[config.api_key_env]
  if (config.api_key_env !== null && key === undefined) {
    throw new InputError(`rollout.source.api_key_env: ${config.api_key_env} is not set`)
  }
  const server = new EndpointSource({
    ...{ url: config.endpoint, model: config.model, apiKey: key, needsTokens: true },
  })
  /** The rollout that the server has the weights of. */
  let delivered: number | undefined
  const ready = async (number: number, signal: AbortSignal | undefined) => {
    if (number === delivered) return
    await deliver(parts, number, signal)
    await checkServer(server, parts, signal)
    delivered = number
  }
  return {
    ready,
    async *sample(requests, options = {}) {
      const number = requests[0]?.rollout?.number
      if (number !== undefined) await ready(number, options.signal)
      for await (const sample of server.sample(requests.map(seeded), options)) {
        checkEnd(sample, parts)
        yield sample
      }
    },
  }
}

/** Another seed for each request of each rollout and attempt: servers take one number. */
function seeded(request: SampleRequest): SampleRequest {
  const { seed, rollout } = request
  if (!rollout) return request
  const { number, attempt, first } = rollout
  const hash = createHash("sha256").update(`${seed} ${number} ${attempt} ${first}`).digest()
  return { ...request, seed: hash.readUInt32LE(0) >>> 2 }
}

/**
 * One greedy answer of the server, held against what training says of its tokens.
 *
 * @throws InputError when the server has another model than was delivered
 */
async function checkServer(
  server: EndpointSource,
  { config, probe, measure }: DeliveredSourceParts,
  signal: AbortSignal | undefined,
): Promise<void> {
  const request = {
    ...{ prompt: { tokenIds: probe }, n: 1, temperature: 0, seed: 0 },
    maxNewTokens: PROBE_TOKENS,
  }
  for await (const { tokenIds, logprobs } of server.sample([request], signal ? { signal } : {})) {
    const own = await measure(probe, tokenIds)
    const apart = mean(logprobs.map((said, t) => Math.abs(said - own[t]!)))
    if (apart <= WRONG_MODEL) continue
    throw new InputError(
      `sampler-gap: ${config.endpoint}: after the weights were delivered the server's log-probabilities of a probe are ${apart.toFixed(2)} nats from training's on average, which is no rounding: it has another model or adapter than ${config.model} should be now, or an older state of it; look at rollout.source.sync`,
    )
  }
}

/** A sample that ended needs the token that ended it: it is an action, and is trained. */
function checkEnd(
  { tokenIds, finishReason, error }: Sample,
  { config, stopIds, stop }: DeliveredSourceParts,
): void {
  if (error !== undefined) throw new InputError(`${config.endpoint}: ${error}`)
  if (finishReason === "length" || stop.length > 0 || stopIds.has(tokenIds.at(-1) ?? -1)) return
  throw new InputError(
    `${config.endpoint}: a sample ended (${finishReason}) with token ${tokenIds.at(-1)}, which ends none here: the server leaves out the token that ended it, or ends at others than ${[...stopIds].join(", ")}`,
  )
}
