import { readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { afterAll, describe, expect, test } from "vitest"
import { openSafetensors } from "../../src/formats/index.ts"
import { inverseFrequencies, ropeTables } from "../../src/models/families/rope.ts"
import { loadModel } from "../../src/models/files/index.ts"
import { Decoder, decoderParameters, modelConfig, packSequences } from "../../src/models/index.ts"
import { float32 } from "../../src/runtime/index.ts"
import { openDevice } from "../../src/runtime/node.ts"
import { sftSettings } from "./losses.ts"

const MODELS = fileURLToPath(new URL("../../golden/models/", import.meta.url))
const readJson = (path: string) => JSON.parse(readFileSync(MODELS + path, "utf8"))

interface FrequencyCase {
  readonly rope_parameters: Record<string, unknown>
  readonly head_dim: number
  readonly max_position_embeddings: number
  readonly sequence_length: number
  readonly inverse_frequencies: readonly number[]
  /** What cos and sin are multiplied with; 1 where it is left out. */
  readonly attention_factor?: number
}

function ropeOf({ rope_parameters, head_dim, max_position_embeddings }: FrequencyCase) {
  return modelConfig({
    model_type: "llama",
    hidden_size: head_dim,
    intermediate_size: 8,
    num_hidden_layers: 1,
    num_attention_heads: 1,
    vocab_size: 8,
    max_position_embeddings,
    rope_parameters,
  }).shape.layers[0]!.rope!
}

const cases: FrequencyCase[] = readJson("rope.json").cases
test.each(cases.map((c) => [c.rope_parameters.rope_type, c.sequence_length, c] as const))(
  "inverse frequencies are Transformers' (%s, %d tokens)",
  (_type, length, golden) => {
    const ours = inverseFrequencies(ropeOf(golden), length)
    expect(ours.length).toBe(golden.inverse_frequencies.length)
    golden.inverse_frequencies.forEach((expected, i) => {
      expect(Math.abs(ours[i]! - expected)).toBeLessThan(2e-6 * expected)
    })
    const { cos } = ropeTables(ropeOf(golden), 1, length)
    expect(cos[0]).toBeCloseTo(golden.attention_factor ?? 1, 6)
  },
)

test("tables hold cos and sin of position times frequency", () => {
  const rope = ropeOf(cases.find((c) => c.rope_parameters.rope_type === "linear")!)
  const { cos, sin } = ropeTables(rope, 5)
  const frequency = inverseFrequencies(rope, 5)[3]!
  const half = rope.rotaryDim / 2
  expect(cos[4 * half + 3]).toBe(Math.fround(Math.cos(4 * frequency)))
  expect(sin[4 * half + 3]).toBe(Math.fround(Math.sin(4 * frequency)))
})

const device = await openDevice({ device: "cpu", threads: 1 })
afterAll(() => device.release())

interface Sequence {
  readonly token_ids: number[]
  readonly loss_mask: number[]
}

const scaled = readdirSync(MODELS).filter((name) =>
  /^llama-(linear|llama3|dynamic|yarn|longrope)$/.test(name),
)
describe.each(scaled)("%s, with the weights of llama", (name) => {
  test("every token's NLL is Transformers'", async () => {
    const { shape } = modelConfig(readJson(`${name}/config.json`))
    const { weights } = await loadModel(`${MODELS}llama`)
    const tensors = decoderParameters(shape).map(
      ({ name, shape }) => [name, float32(shape, weights.get(name)!)] as const,
    )
    const options = { device, shape, weights: new Map(tensors) }
    const decoder = await Decoder.open(options, { trained: false })
    // All in one pack: each turns by its own length, as if it were alone.
    const pack = packSequences(
      (readJson(`${name}/golden.json`).sequences as Sequence[]).map((sequence) => ({
        tokenIds: Int32Array.from(sequence.token_ids),
        lossMask: Uint8Array.from(sequence.loss_mask),
      })),
    )
    const losses = (await decoder.evaluate(pack, sftSettings)).loss!
    await decoder.release()
    const golden = await openSafetensors(`${MODELS}${name}/golden.safetensors`)
    const expected = await golden.readFloat32("nll")
    await golden.close()
    expect(losses.length).toBe(expected.length)
    expected.forEach((nll, i) => {
      expect(Math.abs(losses[i]! - nll)).toBeLessThan(2e-5 * (1 + nll))
    })
  })
})

test("there is a golden folder for every scaling", () => {
  expect(scaled).toEqual([
    "llama-dynamic",
    "llama-linear",
    "llama-llama3",
    "llama-longrope",
    "llama-yarn",
  ])
})
