import { useState } from "preact/hooks"
import { focused, useOpener } from "../parts/use-opener.ts"

/** A run's tags, each with a way to take it off, and a place for another. */
export function TagEditor({
  tags,
  name,
  readOnly,
  onChange,
}: {
  readonly tags: readonly string[]
  readonly name: string
  readonly readOnly: boolean
  readonly onChange: (tags: string[]) => void
}) {
  const [open, setOpen] = useState(false)
  const opener = useOpener(open)
  const add = (event: SubmitEvent) => {
    event.preventDefault()
    const form = event.target as HTMLFormElement
    const tag = String(new FormData(form).get("tag")).trim()
    setOpen(false)
    if (tag !== "" && !tags.includes(tag)) onChange([...tags, tag])
  }
  return (
    <span class="tags">
      {tags.map((tag) =>
        readOnly ? (
          <span key={tag} class="tag">
            {tag}
          </span>
        ) : (
          <button
            key={tag}
            type="button"
            class="tag"
            title="Take this tag off"
            onClick={() => onChange(tags.filter((one) => one !== tag))}
          >
            {tag} <span aria-hidden="true">×</span>
            <span class="unseen">, take it off {name}</span>
          </button>
        ),
      )}
      {!readOnly && !open && (
        <button ref={opener} type="button" class="plain pale" onClick={() => setOpen(true)}>
          + tag<span class="unseen"> for {name}</span>
        </button>
      )}
      {open && (
        <form onSubmit={add}>
          <input
            name="tag"
            type="text"
            aria-label={`New tag for ${name}`}
            maxLength={40}
            ref={focused}
            onKeyDown={(event) => event.key === "Escape" && setOpen(false)}
          />
        </form>
      )}
    </span>
  )
}
