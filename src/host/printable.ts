/** What files, models and servers say, on its way to a terminal. */

/**
 * Controls that a terminal obeys (C0 but tab and newline, DEL, C1), and the marks by which text
 * that is read in one order is written in another (bidirectional overrides, embeddings, isolates).
 */
const UNPRINTABLE =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is replaced
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ufff9-\ufffb]/g

/** Text that commands no terminal: what would is shown as a replacement character. */
export function printable(text: string): string {
  return text.replaceAll(UNPRINTABLE, "\ufffd")
}

/** The same on one line. */
export function printableLine(text: string): string {
  return printable(text).replaceAll(/[\t\n]/g, " ")
}

/** JSON that commands no terminal and means the same. */
export function printableJson(value: unknown): string {
  return JSON.stringify(value).replaceAll(
    UNPRINTABLE,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  )
}
