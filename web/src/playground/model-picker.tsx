import { useRef, useState } from "preact/hooks"
import type { Lab } from "./lab.ts"

/** Another model: a folder of this computer, or one of the hub; or a GPU for the one that is there. */
export function ModelPicker({ lab }: { readonly lab: Lab }) {
  const [open, setOpen] = useState(false)
  const [id, setId] = useState("HuggingFaceTB/SmolLM2-135M-Instruct")
  const picker = useRef<HTMLInputElement>(null)
  const { settings, state } = lab
  const gpu = "gpu" in navigator
  const take = async (source: Parameters<Lab["open"]>[0]) => {
    setOpen(false)
    // What is held in int8 is trained through an adapter.
    if (source && settings.rank === 0) await lab.change({ rank: 8 }, false)
    await lab.open(source)
  }
  const takeFiles = (files: readonly File[]) => {
    const [first] = files
    const name = first?.webkitRelativePath.split("/")[0] || "dropped"
    if (first) take({ kind: "files", name, files })
  }
  return (
    <details class="picker" open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Model and device</summary>
      {/* biome-ignore lint/a11y/noStaticElementInteractions: dropping is another way to what the buttons do */}
      <div
        class="card picker-body"
        onDragOver={(event) => event.preventDefault()}
        onDrop={(event) => {
          event.preventDefault()
          takeFiles([...(event.dataTransfer?.files ?? [])])
        }}
      >
        <p class="note">
          Now: {state.model?.name ?? "none"} on {state.device || "no device"}. A model of your own
          is held in 8 bits and trained through an adapter; up to some 150 M parameters fit a tab.
        </p>
        <button type="button" onClick={() => take(undefined)}>
          The bundled model
        </button>
        <button type="button" onClick={() => picker.current?.click()}>
          A folder of this computer…
        </button>
        <input
          ref={picker}
          type="file"
          hidden
          multiple
          {...{ webkitdirectory: true }}
          onChange={(event) => takeFiles([...(event.currentTarget.files ?? [])])}
        />
        <form
          class="row"
          onSubmit={(event) => {
            event.preventDefault()
            take({ kind: "hub", id: id.trim() })
          }}
        >
          <input
            type="text"
            aria-label="A hub id"
            value={id}
            onInput={(event) => setId(event.currentTarget.value)}
          />
          <button type="submit">From the hub</button>
        </form>
        <label class="row">
          Computes on
          <select
            value={settings.device}
            onChange={(event) =>
              lab.change({ device: event.currentTarget.value as "wasm" | "webgpu" })
            }
          >
            <option value="wasm">WebAssembly</option>
            <option value="webgpu" disabled={!gpu}>
              WebGPU{gpu ? "" : " (not in this browser)"}
            </option>
          </select>
        </label>
      </div>
    </details>
  )
}
