/**
 * Prints the SHA-256 of the ONNX bytes of the training graphs of every folder in golden/models: what
 * a change of structure must leave as it is. `npx tsx scripts/training-graphs.ts > before.txt`
 */
import { createHash } from "node:crypto"
import { readdirSync, readFileSync, statSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { type Graph, graph } from "../src/graph/index.ts"
import { blockForward, blockGraphs } from "../src/models/block/block-graphs.ts"
import { LINEAR_MODULES } from "../src/models/block/parameters.ts"
import { headBackward, headForward } from "../src/models/decoder/head.ts"
import { modelConfig } from "../src/models/index.ts"
import { onnxModel } from "../src/runtime/index.ts"

const MODELS = fileURLToPath(new URL("../golden/models/", import.meta.url))
const sha256 = (model: Graph) =>
  createHash("sha256").update(onnxModel(model, "cpu")).digest("hex").slice(0, 32)

for (const family of readdirSync(MODELS).filter((name) => statSync(MODELS + name).isDirectory())) {
  const { shape } = modelConfig(JSON.parse(readFileSync(`${MODELS}${family}/config.json`, "utf8")))
  const print = (name: string, model: Graph) => console.log(`${family} ${name} ${sha256(model)}`)
  const lora = { modules: new Set(LINEAR_MODULES), rank: 4, scale: 2 }
  const kinds = {
    full: {},
    lora: { lora },
    dropout: { lora: { ...lora, dropout: 0.1 } },
    int4: { lora, quantization: { bits: 4, groupSize: 32 } },
    int8: { lora, quantization: { bits: 8, groupSize: 64 } },
  } as const
  for (const [kind, options] of Object.entries(kinds)) {
    for (const tokens of [64, 300]) {
      print(`${kind} ${tokens} forward`, blockForward({ shape, tokens, ...options }))
      for (const level of ["keep", "products", "recompute"] as const) {
        const { forward, backward } = blockGraphs({ shape, tokens, ...options }, level)
        print(`${kind} ${tokens} ${level} forward`, forward)
        print(`${kind} ${tokens} ${level} backward`, backward)
      }
    }
  }
  for (const reference of [false, true]) {
    const head = {
      shape,
      reference,
      loss: ({ logp }: { logp: import("../src/graph/index.ts").Tensor }) => {
        const p = logp.exp()
        return { loss: p.mul(logp).neg(), coefficients: { logp: p.neg(), entropy: p } }
      },
    }
    print(`head ${reference} forward`, graph("head", headForward(head)))
    for (const trained of [false, true]) {
      const outputs = headBackward(head, { norm: trained, head: trained })
      print(`head ${reference} ${trained} backward`, graph("head", outputs))
    }
  }
}
