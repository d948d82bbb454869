/** A token with what a model makes of it. */
export interface ShownToken {
  readonly text: string
  /** Its probability, or what else it is coloured by: 0 to 1; null leaves it plain. */
  readonly value: number | null
  /** In words, for who points at it. */
  readonly title?: string
}

/** White space as something one can see. */
const visible = (text: string) => text.replaceAll("\n", "↵\n")

/** Text whose tokens are coloured from red (0) to pale green (1). */
export function Tokens({
  tokens,
  picked,
  onPick,
}: {
  readonly tokens: readonly ShownToken[]
  readonly picked?: number | undefined
  readonly onPick?: (index: number) => void
}) {
  return (
    <div class="tokens">
      {tokens.map(({ text, value, title }, i) => (
        // biome-ignore lint/a11y/noStaticElementInteractions: pointing only adds to what the line below says
        <span
          key={i}
          class={`${value === null ? "context" : "seen"}${picked === i ? " picked" : ""}`}
          style={value === null ? undefined : { "--v": value }}
          title={title}
          onMouseEnter={onPick && (() => onPick(i))}
        >
          {visible(text)}
        </span>
      ))}
    </div>
  )
}
