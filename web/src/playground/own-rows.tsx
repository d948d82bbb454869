import { useEffect, useRef, useState } from "preact/hooks"
import { rowsText, SHOWN_CHARACTERS } from "./given-files.ts"
import type { Lab } from "./lab.ts"

const EXAMPLE = `{"messages": [{"role": "user", "content": "calc 3 + 4"}, {"role": "assistant", "content": "The answer is 7."}]}`

/** Rows typed, pasted, dropped or opened. */
export function OwnRows({ lab }: { readonly lab: Lab }) {
  const [text, setText] = useState(lab.ownRows || EXAMPLE)
  /** A file too long for the box. */
  const [file, setFile] = useState<string>()
  const picker = useRef<HTMLInputElement>(null)
  const take = (rows: string, name?: string) => {
    const isLong = rows.length > SHOWN_CHARACTERS
    setText(isLong ? "" : rows)
    setFile(isLong ? (name ?? "what was pasted") : undefined)
    lab.ownRows = rows
  }
  const takeFile = (given: File | undefined) =>
    lab.guarded(async () => {
      if (given) take(await rowsText(given), given.name)
    })
  useEffect(() => {
    lab.ownRows ||= text
  }, [])
  return (
    <div class="own">
      <label>
        Rows, a JSON value a line (chats, prompts with completions, questions with answers):
        <textarea
          rows={5}
          class="mono"
          value={text}
          placeholder={file && `${file} is taken; it is too long to be shown here`}
          onPaste={(event) => {
            // A box that is given megabytes hangs the page while it lays them out.
            const pasted = event.clipboardData?.getData("text/plain") ?? ""
            if (pasted.length <= SHOWN_CHARACTERS) return
            event.preventDefault()
            take(pasted)
          }}
          onInput={(event) => take(event.currentTarget.value)}
          onDragOver={(event) => event.preventDefault()}
          onDrop={(event) => {
            event.preventDefault()
            void takeFile(event.dataTransfer?.files[0])
          }}
        />
      </label>
      <div class="row">
        <button type="button" onClick={() => lab.change({ task: "own" })}>
          Train on these
        </button>
        <button type="button" onClick={() => picker.current?.click()}>
          Open a file…
        </button>
        <input
          ref={picker}
          type="file"
          hidden
          accept=".jsonl,.json,.ndjson,.txt"
          onChange={(event) => takeFile(event.currentTarget.files?.[0])}
        />
        {file && <span class="note">{file} is taken</span>}
      </div>
    </div>
  )
}
