import { zipSync } from "fflate"
import { useState } from "preact/hooks"
import { canOpenFolders, chosenFolder, writeFiles } from "./given-files.ts"
import type { Lab } from "./lab.ts"
import { SIDES, type SideName } from "./lab-state.ts"

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
      const response = await fetch(new URL(`../model/${file}`, location.href)).catch(
        () => undefined,
      )
      if (!response?.ok) {
        throw new Error(`${file} of the base could not be fetched; the server is away`)
      }
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

/** The adapter's files in a folder that the person chooses, and what they are. */
async function saveInFolder(lab: Lab, name: SideName): Promise<void> {
  const directory = await chosenFolder("readwrite")
  if (!directory) return
  const adapter = await lab.adapter(name)
  if (adapter) await writeFiles(directory, adapter)
}

/** The link to these settings, and what was trained. */
export function Share({ lab }: { readonly lab: Lab }) {
  const [said, setSaid] = useState<string>()
  const { phase } = lab.state
  const canSave = lab.settings.rank > 0 && (phase === "paused" || phase === "done")
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(location.href)
      setSaid("Link copied")
    } catch {
      setSaid("It is in the address bar") // the browser lets no page write there
    }
    setTimeout(() => setSaid(undefined), 2000)
  }
  const download = (name: SideName) =>
    lab.guarded(async () => {
      const bytes = await archive(lab, name)
      if (bytes) save(bytes, `dftune-adapter-${name}.zip`)
    })
  const title =
    lab.settings.rank > 0
      ? "The trained adapter in PEFT's format"
      : "The whole model is trained; set a LoRA rank to have an adapter"
  return (
    <>
      <button type="button" onClick={copy}>
        {said ?? "Copy link"}
      </button>
      {SIDES.map((name) => (
        <span key={name} class="row">
          <button type="button" disabled={!canSave} title={title} onClick={() => download(name)}>
            Download adapter {name.toUpperCase()}
          </button>
          {canOpenFolders() && (
            <button
              type="button"
              disabled={!canSave}
              title="The adapter's files into a folder of this computer"
              aria-label={`Save adapter ${name.toUpperCase()} in a folder`}
              onClick={() => lab.guarded(() => saveInFolder(lab, name))}
            >
              …in a folder
            </button>
          )}
        </span>
      ))}
    </>
  )
}
