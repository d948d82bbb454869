/** A reward that a server gives: samples are posted, numbers come back. */

import { InputError } from "../errors.ts"
import { isObject } from "../formats/json.ts"
import { boundedText, MAX_BODY_BYTES } from "../host/bounded-text.ts"
import { isBusy, isNoAddress, type Patience, patiently, retryAfter } from "../host/patience.ts"
import type { Scorer } from "./reward.ts"

export interface RewardEndpoint {
  readonly url: string
  /** Seconds that an answer may take. */
  readonly timeout: number
}

const PATIENCE: Patience = { attempts: 3, firstWaitMs: 1000 }

/**
 * POSTs `{ samples: [{ prompt, completion, token_ids, finish_reason, row }] }` and expects
 * `{ rewards: [number or null, ...] }`, one a sample. Asked again where no answer comes or the
 * server says that it is at fault.
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

type Posted =
  | { readonly answer: unknown }
  | { readonly problem: string; readonly mayPass: boolean; readonly afterSeconds?: number }

async function posted(
  url: string,
  body: string,
  options: { readonly timeout: number; readonly signal: AbortSignal | undefined },
): Promise<unknown> {
  const found = await patiently(() => postedOnce(url, body, options), {
    ...PATIENCE,
    signal: options.signal,
    again: (outcome) => ("problem" in outcome && outcome.mayPass ? outcome : undefined),
  })
  if ("answer" in found) return found.answer
  throw new InputError(`${url}: the reward endpoint did not answer: ${found.problem}`)
}

async function postedOnce(
  url: string,
  body: string,
  { timeout, signal }: { readonly timeout: number; readonly signal: AbortSignal | undefined },
): Promise<Posted> {
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
      const problem = `its answer is longer than ${MAX_BODY_BYTES / 1e6} MB`
      return { problem, mayPass: false }
    }
    if (response.ok) return { answer: JSON.parse(text) }
    const problem = `${response.status} ${response.statusText}: ${text.slice(0, 200)}`
    const afterSeconds = retryAfter(response.headers.get("retry-after"))
    const asked = afterSeconds === undefined ? {} : { afterSeconds }
    return { problem, mayPass: isBusy(response.status), ...asked }
  } catch (error) {
    signal?.throwIfAborted()
    const problem = late.aborted ? `no answer within ${timeout} s` : (error as Error).message
    return { problem, mayPass: !isNoAddress(error) }
  }
}
