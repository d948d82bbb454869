import { existsSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { expect, test } from "vitest"
import { openGenerator } from "../../src/generate/index.ts"
import { CachedDecoder } from "../../src/models/decoding/cached-decoder.ts"

const FOLDER = fileURLToPath(new URL("../../../shared/data/weights/stories260K/", import.meta.url))
const present = existsSync(`${FOLDER}reference.json`)
if (!present) console.warn(`absent, so not tested: the trained model of ${FOLDER}`)

interface Reference {
  readonly expected_stdout: string
  readonly greedy_ids: readonly number[]
  readonly greedy_token_logprobs: readonly number[]
  readonly logits_after_bos: readonly number[]
  readonly prompt: {
    readonly text: string
    readonly ids: readonly number[]
    readonly token_logprobs: readonly number[]
  }
}

test.runIf(present)("a trained model tells its story: text, ids, log-probabilities", async () => {
  const reference = JSON.parse(readFileSync(`${FOLDER}reference.json`, "utf8")) as Reference
  const generator = await openGenerator(`${FOLDER}hf`, { threads: 2 })
  const maxNewTokens = reference.greedy_ids.length - 1
  const request = { prompt: "", n: 1, temperature: 0, maxNewTokens, seed: 0 }
  let told = ""
  const options = { onToken: ({ text }: { text: string }) => (told += text) }
  for await (const sample of generator.sample([request], options)) {
    expect([1, ...sample.tokenIds]).toEqual(reference.greedy_ids)
    expect(sample.completion).toBe(reference.expected_stdout)
    expect(told).toBe(sample.completion)
    for (const [i, logprob] of sample.logprobs.entries()) {
      expect(logprob).toBeCloseTo(reference.greedy_token_logprobs[i]!, 4)
    }
  }
  await generator.close()
})

test.runIf(present)("its logits after BOS, and the log-probabilities of a text", async () => {
  const reference = JSON.parse(readFileSync(`${FOLDER}reference.json`, "utf8")) as Reference
  const { open, close } = await openGenerator(`${FOLDER}hf`, { threads: 2 })
  const decoder = new CachedDecoder(open.model)
  const cache = await decoder.newCache(1, 1)
  const { ids, token_logprobs } = reference.prompt
  let hidden = await decoder.prefill(cache, Int32Array.of(1))
  const { logits } = await decoder.next(hidden, [0])
  for (const [id, logit] of reference.logits_after_bos.entries()) {
    expect(logits[0]![id]).toBeCloseTo(logit, 3)
  }
  for (const [i, logprob] of token_logprobs.entries()) {
    const next = await decoder.next(hidden, [0])
    const id = ids[i + 1]!
    expect(next.logits[0]![id]! - next.logSumExp[0]!).toBeCloseTo(logprob, 4)
    hidden = await decoder.decode(cache, [id], [i + 1])
  }
  await decoder.release()
  await close()
})
