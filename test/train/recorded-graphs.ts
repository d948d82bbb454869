import { createHash } from "node:crypto"
import type { KeepLevel } from "../../src/graph/index.ts"
import { packSequences } from "../../src/models/index.ts"
import { objectiveFromConfig } from "../../src/objectives/index.ts"
import { type Device, onnxModel } from "../../src/runtime/index.ts"
import { objectiveHead } from "../../src/train/objective-head.ts"
import { goldenPolicy } from "./golden-run.ts"

/** What is trained, and what the backward finds of the forward pass. */
export const KINDS = {
  "full, keep": { keep: "keep" },
  "full, products": { keep: "products" },
  "full, recompute": { keep: "recompute" },
  "lora, keep": { keep: "keep", adapter: true },
  "lora on int8, keep": { keep: "keep", adapter: true, bits: 8 },
  "lora on int4, keep": { keep: "keep", adapter: true, bits: 4 },
} as const satisfies Record<string, { keep: KeepLevel; adapter?: boolean; bits?: 4 | 8 }>
export type Kind = keyof typeof KINDS

/** Every family in one kind, and one family in every kind. */
export const CASES: readonly (readonly [family: string, kind: Kind])[] = [
  ...["llama", "llama-bias", "mistral", "qwen2", "qwen3"].map(
    (family) => [family, "full, keep"] as const,
  ),
  ...(Object.keys(KINDS) as Kind[])
    .filter((kind) => kind !== "full, keep")
    .map((kind) => ["qwen2", kind] as const),
]

type Hashes = Record<string, string[]>

/**
 * A device that notes the ONNX bytes of every graph it compiles, as either device would be given
 * them.
 */
function recording(device: Device) {
  const hashes: Hashes = {}
  const recorded = new Proxy(device, {
    get(target, name) {
      if (name === "updates") return undefined // the library's, which not every machine has
      if (name !== "compile") {
        const value = Reflect.get(target, name) as unknown
        return typeof value === "function" ? value.bind(target) : value
      }
      return (...[graph, options]: Parameters<Device["compile"]>) => {
        const hash = createHash("sha256")
        for (const kind of ["cpu", "webgpu"] as const) hash.update(onnxModel(graph, kind))
        hashes[graph.name] = [...(hashes[graph.name] ?? []), hash.digest("hex")]
        return target.compile(graph, options)
      }
    },
  })
  return { recorded, hashes }
}

/** SHA-256 of the ONNX bytes of the graphs of one training step, by the graph's name. */
export async function trainingGraphs(device: Device, family: string, kind: Kind): Promise<Hashes> {
  const { keep, ...weighted } = KINDS[kind]
  const { recorded, hashes } = recording(device)
  const policy = await goldenPolicy({ device: recorded, family, ...weighted }, () => keep)
  const { settings } = objectiveHead(objectiveFromConfig("dft"))
  const tokenIds = Int32Array.from({ length: 24 }, (_, i) => i % policy.decoder.shape.vocabSize)
  const lossMask = new Uint8Array(24).fill(1, 1)
  await policy.decoder.train(packSequences([{ tokenIds, lossMask }]), settings)
  await policy.squaredGradientNorm()
  await policy.update({ step: 1, learningRate: 1e-3, gradientScale: 1 })
  await policy.release()
  return hashes
}
