import { zipSync } from "fflate"
import { useState } from "preact/hooks"
import type { Lab, SideName } from "./lab.ts"

const MODEL_FILES = [
  ..."config.json generation_config.json tokenizer.json tokenizer_config.json".split(" "),
  "model.safetensors",
]

const words = (base: string) => `An adapter in PEFT's format, trained in the dftune playground.

    cd into this folder
    dftune chat adapter        (npm install -g dftune)

or in Python: PeftModel.from_pretrained(base_model, "adapter"). Its base is ${base}.
${base === "base" ? 'Its tokenizer there: PreTrainedTokenizerFast.from_pretrained("base") (AutoTokenizer takes Qwen2\'s own pieces).\n' : ""}`

/** A zip of the adapter, and of the bundled model when that is its base. */
async function archive(lab: Lab, name: SideName): Promise<Uint8Array | undefined> {
  const adapter = await lab.adapter(name)
  if (!adapter) return undefined
  const base = lab.state.model!.name
  const files: Record<string, Uint8Array> = {
    "README.txt": new TextEncoder().encode(words(base)),
  }
  for (const [file, bytes] of adapter) files[`adapter/${file}`] = bytes
  if (base === "base") {
    for (const file of MODEL_FILES) {
      const response = await fetch(new URL(`../model/${file}`, location.href))
      files[`base/${file}`] = new Uint8Array(await response.arrayBuffer())
    }
  }
  return zipSync(files, { level: 0 })
}

function save(bytes: Uint8Array, name: string): void {
  const address = URL.createObjectURL(new Blob([bytes as BlobPart], { type: "application/zip" }))
  const link = document.createElement("a")
  link.href = address
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(address), 60_000)
}

/** The link to these settings, and what was trained. */
export function Share({ lab }: { readonly lab: Lab }) {
  const [copied, setCopied] = useState(false)
  const { phase } = lab.state
  const canSave = lab.settings.rank > 0 && (phase === "paused" || phase === "done")
  return (
    <>
      <button
        type="button"
        onClick={async () => {
          await navigator.clipboard.writeText(location.href)
          setCopied(true)
          setTimeout(() => setCopied(false), 2000)
        }}
      >
        {copied ? "Link copied" : "Copy link"}
      </button>
      {(["a", "b"] as const).map((name) => (
        <button
          key={name}
          type="button"
          disabled={!canSave}
          title={
            lab.settings.rank > 0
              ? "The trained adapter in PEFT's format"
              : "The whole model is trained; set a LoRA rank to have an adapter"
          }
          onClick={async () => {
            const bytes = await archive(lab, name)
            if (bytes) save(bytes, `dftune-adapter-${name}.zip`)
          }}
        >
          Download adapter {name.toUpperCase()}
        </button>
      ))}
    </>
  )
}
