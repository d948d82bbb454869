/**
 * Writes the table of docs/models.md: `npx tsx scripts/models-table.ts`. The differences are
 * measured against golden/models, whose numbers are Transformers' and PEFT's, in float32 on this
 * machine. Which types `engine: torch` pads is found out on tiny random models, where DFTUNE_PYTHON
 * (or python3) has torch and transformers; else that list stays as it is.
 */
import { execFileSync } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { openSafetensors } from "../src/formats/index.ts"
import type { TokenLoss, TokenQuantities } from "../src/models/decoder/head.ts"
import { CachedDecoder } from "../src/models/decoding/cached-decoder.ts"
import type { Family } from "../src/models/families/family.ts"
import { loadModel, readAdapter } from "../src/models/files/index.ts"
import {
  Decoder,
  decoderName,
  decoderParameters,
  FAMILIES,
  linearModules,
  loraInputs,
  loraParameters,
  MODEL_TYPES,
  packSequences,
} from "../src/models/index.ts"
import { type Device, float32, type HostTensor } from "../src/runtime/index.ts"
import { openDevice } from "../src/runtime/node.ts"

const GOLDEN = fileURLToPath(new URL("../golden/models/", import.meta.url))
const TWO_PROCESSES = ["--standalone", "--nproc_per_node=2"]
const PAGE = fileURLToPath(new URL("../docs/models.md", import.meta.url))

/** DFT: -sg(p) log p. */
const dft = {
  loss: ({ logp }: TokenQuantities): TokenLoss => {
    const p = logp.exp()
    return { loss: p.mul(logp).neg(), coefficients: { logp: p.neg() } }
  },
}

interface Sequence {
  readonly token_ids: number[]
  readonly loss_mask: number[]
}

/** |a - b| / |b|. */
function relative(a: Float32Array, b: Float32Array, scale: number): number {
  const squares = (x: Float32Array) => x.reduce((sum, value) => sum + value * value, 0)
  return Math.sqrt(squares(a.map((value, i) => value * scale - b[i]!)) / squares(b))
}

async function worstGradient(device: Device, folder: string, adapter?: string): Promise<number> {
  const { config, weights } = await loadModel(folder)
  const host = new Map<string, HostTensor>()
  for (const { name, shape } of decoderParameters(config.shape)) {
    host.set(name, float32(shape, weights.get(name)!))
  }
  const read = adapter ? await readAdapter(`${folder}/${adapter}`, config.shape) : undefined
  if (read) {
    for (const { name, shape } of loraParameters(config.shape, read.spec)) {
      host.set(decoderName(name), float32(shape, read.tensors.get(name)!))
    }
  }
  const lora = read && loraInputs(read.spec)
  const decoder = await Decoder.open({ device, shape: config.shape, weights: host, lora })
  const { sequences } = JSON.parse(readFileSync(`${folder}/golden.json`, "utf8"))
  const pack = packSequences(
    (sequences as Sequence[]).map(({ token_ids, loss_mask }) => ({
      tokenIds: Int32Array.from(token_ids),
      lossMask: Uint8Array.from(loss_mask),
    })),
  )
  await decoder.train(pack, dft)
  const golden = await openSafetensors(
    `${adapter ? `${folder}/${adapter}` : folder}/golden.safetensors`,
  )
  const prefix = adapter ? "dft.grad.base_model.model." : "dft.grad."
  let worst = 0
  for (const [name, gradient] of decoder.gradients) {
    const expected = await golden.readFloat32(prefix + name)
    const apart = relative(gradient.data as Float32Array, expected, 1 / pack.labels.length)
    worst = Math.max(worst, apart)
  }
  await golden.close()
  await decoder.release()
  return worst
}

/** Of all tokens after the fifth, decoded one by one over a cache. */
async function worstLogit(device: Device, folder: string): Promise<number> {
  const { config, weights } = await loadModel(folder)
  const { shape } = config
  const tensors = decoderParameters(shape).map(
    async ({ name, shape }) =>
      [name, await device.upload(float32(shape, weights.get(name)!))] as const,
  )
  const decoder = new CachedDecoder({ device, shape, weights: new Map(await Promise.all(tensors)) })
  const { sequences } = JSON.parse(readFileSync(`${folder}/golden.json`, "utf8"))
  const golden = await openSafetensors(`${folder}/golden.safetensors`)
  let worst = 0
  for (const [i, { token_ids }] of (sequences as Sequence[]).entries()) {
    const expected = await golden.readFloat32(`logits.${i}`)
    const cache = await decoder.newCache(1, 1)
    let hidden = await decoder.prefill(cache, Int32Array.from(token_ids.slice(0, 5)))
    for (let t = 4; ; t++) {
      const [logits] = (await decoder.next(hidden, [0])).logits
      const row = expected.subarray(t * shape.vocabSize, (t + 1) * shape.vocabSize)
      worst = logits!.reduce((most, z, v) => Math.max(most, Math.abs(z - row[v]!)), worst)
      if (t + 1 === token_ids.length) break
      hidden = await decoder.decode(cache, [token_ids[t + 1]!], [t + 1])
    }
    cache.dispose()
  }
  await golden.close()
  await decoder.release()
  return worst
}

const device = await openDevice({ device: "cpu", threads: 2 })
const rows: string[] = []
for (const type of MODEL_TYPES) {
  const family: Family = FAMILIES[type]
  const folder = GOLDEN + type
  const numbers = [
    await worstLogit(device, folder),
    await worstGradient(device, folder),
    await worstGradient(device, folder, "adapter"),
  ].map((x) => x.toExponential(0))
  const gguf = family.gguf?.architecture ?? "no"
  const { config } = await loadModel(folder)
  const linears = [...linearModules(config.shape).values()].filter(({ isExpert }) => !isExpert)
  const adapted = linears.map(({ module }) =>
    module
      .split(".")
      .at(-1)!
      .replace(/_proj$/, ""),
  )
  const cells = [family.about, ...numbers, gguf, [...new Set(adapted)].join(" ")]
  rows.push(`| \`${type}\` | ${cells.join(" | ")} |`)
}
await device.release()

/**
 * The types of tiny models, packed, padded and shared; undefined without a Python that can tell.
 */
function typesOnTorch(): string | undefined {
  const ways = told("kept_apart.py")
  const shared = told("shared_types.py", "-m", "torch.distributed.run", ...TWO_PROCESSES)
  if (ways === undefined || shared === undefined) return undefined
  const listed = (found: Record<string, string | null>, ...wanted: readonly (string | null)[]) =>
    Object.keys(found)
      .filter((type) => wanted.includes(found[type]!))
      .sort()
      .map((type) => `\`${type}\``)
      .join(" ")
  return [
    `- Packed: ${listed(ways, "own", "mask")}`,
    `- Padded: ${listed(ways, "padded", "alone")}`,
    `- Shared: ${listed(shared, null)}`,
  ].join("\n")
}

/** What a script of the worker's tests says of each type. */
function told(file: string, ...launch: string[]): Record<string, string | null> | undefined {
  const python = process.env.DFTUNE_PYTHON ?? "python3"
  const script = fileURLToPath(new URL(`../worker/tests/${file}`, import.meta.url))
  try {
    const text = execFileSync(python, [...launch, script], { encoding: "utf8", stdio: "pipe" })
    return JSON.parse(text.trim().split("\n").at(-1)!)
  } catch (error) {
    console.error(`types on engine: torch are left as they are: ${python} ${script}: ${error}`)
    return undefined
  }
}

const page = readFileSync(PAGE, "utf8")
const head = [
  "| `model_type` | checkpoints | logits | gradients | adapter's gradients | GGUF | adapters on |",
  "| --- | --- | --- | --- | --- | --- | --- |",
]
const table = [...head, ...rows].join("\n")
const types = typesOnTorch()
const withTable = page.replace(/\| `model_type`[\s\S]*?(?=\n\n)/, table)
writeFileSync(
  PAGE,
  types ? withTable.replace(/- Packed: .*\n- Padded: .*\n- Shared: .*/, types) : withTable,
)
