/** A reward that a server gives: samples are posted, numbers come back. */

import { setTimeout as pause } from "node:timers/promises"
import { InputError } from "../errors.ts"
import { isObject } from "../formats/json.ts"
import { boundedText, MAX_BODY_BYTES } from "../host/bounded-text.ts"
import type { Scorer } from "./reward.ts"

export interface RewardEndpoint {
  readonly url: string
  /** Seconds that an answer may take. */
  readonly timeout: number
}

const ATTEMPTS = 3

/**
 * POSTs `{ samples: [{ prompt, completion, token_ids, finish_reason, row }] }` and expects
 * `{ rewards: [number or null, ...] }`, one a sample. Asked again where no answer comes or the server
 * says that it is at fault.
 */
export function rewardEndpoint({ url, timeout }: RewardEndpoint): Scorer {
  return {
    async score(samples, signal) {
      const body = JSON.stringify({ samples: samples.map(({ where: _, ...sample }) => sample) })
      const answer = await posted(url, body, { timeout, signal })
      const rewards = isObject(answer) ? answer.rewards : answer
      if (Array.isArray(rewards) && rewards.length === samples.length) return rewards
      const came = Array.isArray(rewards)
        ? `${rewards.length} of them`
        : JSON.stringify(answer)?.slice(0, 120)
      throw new InputError(
        `${url}: expected { "rewards": [...] } with ${samples.length} numbers or nulls, got ${came}`,
      )
    },
  }
}

async function posted(
  url: string,
  body: string,
  { timeout, signal }: { readonly timeout: number; readonly signal: AbortSignal | undefined },
): Promise<unknown> {
  let problem = ""
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    signal?.throwIfAborted()
    if (attempt > 0) await pause(500 * 2 ** attempt)
    const late = AbortSignal.timeout(1000 * timeout)
    try {
      const response = await fetch(url, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body,
        signal: signal ? AbortSignal.any([signal, late]) : late,
      })
      const text = await boundedText(response)
      if (text === undefined) {
        problem = `its answer is longer than ${MAX_BODY_BYTES / 1e6} MB`
        break
      }
      if (response.ok) return JSON.parse(text)
      problem = `${response.status} ${response.statusText}: ${text.slice(0, 200)}`
      if (response.status < 500 && response.status !== 429) break
    } catch (error) {
      signal?.throwIfAborted()
      problem = late.aborted ? `no answer within ${timeout} s` : (error as Error).message
    }
  }
  throw new InputError(`${url}: the reward endpoint did not answer: ${problem}`)
}
