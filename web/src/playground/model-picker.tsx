import { useRef, useState } from "preact/hooks"
import {
  canOpenFolders,
  chosenFolder,
  droppedFolder,
  filesOf,
  type GivenFolder,
  pickedFolder,
} from "./given-files.ts"
import { BUNDLED, type Lab } from "./lab.ts"
import type { Settings } from "./settings.ts"

/**
 * Another model: a folder of this computer, or one of the hub; or a GPU for the one that is there.
 */
export function ModelPicker({ lab }: { readonly lab: Lab }) {
  const [open, setOpen] = useState(false)
  const [id, setId] = useState("HuggingFaceTB/SmolLM2-135M-Instruct")
  const picker = useRef<HTMLInputElement>(null)
  const { settings, state } = lab
  const gpu = "gpu" in navigator
  const take = async (source: Parameters<Lab["open"]>[0]) => {
    setOpen(false)
    // What is held in int8 is trained through an adapter.
    if (source !== BUNDLED && settings.rank === 0) await lab.change({ rank: 8 }, false)
    await lab.open(source)
  }
  const takeFolder = async (folder: GivenFolder | undefined) => {
    if (folder) await take({ kind: "files", ...folder })
  }
  const pick = () =>
    lab.guarded(async () => {
      if (!canOpenFolders()) return picker.current?.click()
      const directory = await chosenFolder("read")
      await takeFolder(directory && (await filesOf(directory)))
    })
  return (
    <details class="picker" open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Model and device</summary>
      {/* biome-ignore lint/a11y/noStaticElementInteractions: dropping is another way to what the buttons do */}
      <div
        class="card picker-body"
        onDragOver={(event) => event.preventDefault()}
        onDrop={(event) => {
          event.preventDefault()
          const folder = droppedFolder(event.dataTransfer!)
          void lab.guarded(async () => takeFolder(await folder))
        }}
      >
        <p class="note">
          Now: {state.model?.name ?? "none"} on {state.device || "no device"}. A model of your own
          (drop its folder here) is held in 8 bits and trained through an adapter. What both runs
          need is reckoned and tried before anything is made.
        </p>
        <button type="button" onClick={() => take(BUNDLED)}>
          The bundled model
        </button>
        <button type="button" onClick={pick}>
          A folder of this computer…
        </button>
        <input
          ref={picker}
          type="file"
          hidden
          multiple
          {...{ webkitdirectory: true }}
          onChange={(event) => takeFolder(pickedFolder(event.currentTarget.files))}
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
        <SavedModels lab={lab} />
        <label class="row">
          Computes on
          <select
            value={settings.device}
            onChange={(event) =>
              lab.change({ device: event.currentTarget.value as Settings["device"] })
            }
          >
            <option value="auto">what suits the model</option>
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

/** Downloads that this browser keeps, and how to be rid of them. */
function SavedModels({ lab }: { readonly lab: Lab }) {
  const { saved } = lab.state
  if (saved.length === 0) return null
  return (
    <section aria-label="Saved models">
      <p class="note">Kept in this browser:</p>
      <ul class="saved">
        {saved.map(({ id, bytes }) => (
          <li key={id} class="row">
            <span>
              {id}, {(bytes / 1e6).toFixed(0)} MB
            </span>
            <button type="button" aria-label={`Delete ${id}`} onClick={() => lab.forget(id)}>
              Delete
            </button>
          </li>
        ))}
      </ul>
      {saved.length > 1 && (
        <button type="button" onClick={() => lab.forget()}>
          Delete all
        </button>
      )}
    </section>
  )
}
