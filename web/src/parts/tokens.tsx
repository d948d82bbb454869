import { useId } from "preact/hooks"

/** A token with what a model makes of it. */
export interface ShownToken {
  readonly text: string
  /** Its probability, or what else it is coloured by: 0 to 1; null leaves it plain. */
  readonly value: number | null
  /** In words, for who points at it. */
  readonly title?: string
}

/** White space as something one can see. */
export const visible = (text: string) => text.replaceAll("\n", "↵\n")

interface TokensProps {
  readonly tokens: readonly ShownToken[]
}

/** Text whose tokens are coloured from red (0) to pale green (1). */
export function Tokens({ tokens }: TokensProps) {
  return (
    <div class="tokens">
      {tokens.map((token, i) => (
        <span key={i} {...look(token)}>
          {visible(token.text)}
        </span>
      ))}
    </div>
  )
}

const look = ({ value, title }: ShownToken, isPicked = false) => ({
  class: `${value === null ? "context" : "seen"}${isPicked ? " picked" : ""}`,
  style: value === null ? undefined : { "--v": value },
  title,
})

/** Where a key leads from a token. */
const KEYS: Readonly<Record<string, (at: number, last: number) => number>> = {
  ArrowLeft: (at) => at - 1,
  ArrowRight: (at) => at + 1,
  ArrowUp: (at) => at - 10,
  ArrowDown: (at) => at + 10,
  Home: () => 0,
  End: (_, last) => last,
}

/** The same as a list of which one is picked: by pointing at it, or with the keys of a list. */
export function PickedTokens({
  label,
  tokens,
  picked,
  onPick,
}: TokensProps & {
  readonly label: string
  readonly picked: number | undefined
  readonly onPick: (index: number) => void
}) {
  const id = useId()
  const last = tokens.length - 1
  const step = (event: KeyboardEvent) => {
    const to = KEYS[event.key]?.(picked ?? -1, last)
    if (to === undefined) return
    event.preventDefault()
    onPick(Math.max(0, Math.min(last, to)))
  }
  return (
    <div
      class="tokens"
      role="listbox"
      tabIndex={0}
      aria-label={label}
      aria-activedescendant={picked === undefined ? undefined : `${id}-${picked}`}
      onKeyDown={step}
      onFocus={() => picked === undefined && last >= 0 && onPick(0)}
    >
      {tokens.map((token, i) => (
        <span
          key={i}
          id={`${id}-${i}`}
          role="option"
          tabIndex={-1}
          aria-selected={picked === i}
          {...look(token, picked === i)}
          onMouseEnter={() => onPick(i)}
        >
          {visible(token.text)}
        </span>
      ))}
    </div>
  )
}
