import type { ComponentChildren } from "preact"
import { visible } from "./tokens.tsx"

/**
 * How a token is painted: 0 to 1 from red to pale green, or -1 to 1 from red over nothing to green.
 */
export interface PaintedToken {
  readonly text: string
  readonly value: number | null
  /** Not trained, or not predicted. */
  readonly isContext: boolean
}

/**
 * Text whose tokens can be pointed at, or walked through with the arrow keys; what is picked is
 * told beside it.
 */
export function InspectedTokens({
  label,
  tokens,
  diverging = false,
  picked,
  onPick,
  children,
}: {
  readonly label: string
  readonly tokens: readonly PaintedToken[]
  readonly diverging?: boolean
  readonly picked: number | undefined
  readonly onPick: (index: number) => void
  readonly children?: ComponentChildren
}) {
  const move = (event: KeyboardEvent) => {
    const by = { ArrowRight: 1, ArrowDown: 10, ArrowLeft: -1, ArrowUp: -10 }[event.key]
    if (by === undefined) return
    event.preventDefault()
    onPick(Math.max(0, Math.min(tokens.length - 1, (picked ?? -1) + by)))
  }
  return (
    <div class="inspected">
      <div
        class={`tokens ${diverging ? "diverging" : ""}`}
        role="listbox"
        aria-label={label}
        tabIndex={0}
        aria-activedescendant={picked === undefined ? undefined : `token-${picked}`}
        onKeyDown={move}
      >
        {tokens.map(({ text, value, isContext }, i) => (
          // biome-ignore lint/a11y/useFocusableInteractive: the list has the focus, and says which is active
          <span
            key={i}
            id={`token-${i}`}
            role="option"
            aria-selected={picked === i}
            aria-label={text.trim() === "" ? JSON.stringify(text) : undefined}
            class={`${value === null ? "" : "seen"}${isContext ? " context" : ""}${picked === i ? " picked" : ""}`}
            style={value === null ? undefined : { "--v": value }}
            onMouseEnter={() => onPick(i)}
          >
            {visible(text)}
          </span>
        ))}
      </div>
      {children}
    </div>
  )
}
