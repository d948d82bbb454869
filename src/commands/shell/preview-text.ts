/** Examples of `dftune preview` on a terminal. */
import { basename } from "node:path"
import type { PreviewExample, PreviewPicture } from "../../data/preview-rows.ts"
import { type Piece, sideBySide } from "../../report/side-by-side.ts"
import { colorsFor } from "./terminal.ts"

const counted = ({ token_ids, loss_mask }: PreviewExample) =>
  `${token_ids.length} tokens, ${loss_mask.reduce((sum, mask) => sum + mask, 0)} trained`

const warned = ({ warnings }: PreviewExample) =>
  warnings.length === 0 ? "" : ` ${colorsFor(process.stdout).yellow(warnings.join(", "))}`

/** An example: colours, or without them `[[` and `]]` around what is trained. */
export function exampleText(example: PreviewExample): string {
  const { bold, dim } = colorsFor(process.stdout)
  const title = `${bold(example.source)} ${dim(counted(example))}`
  return `${title}${warned(example)}\n${joined(pieces(example))}\n`
}

/** Where nobody says how wide the terminal is. */
const COLUMNS = 100

/** A pair: what both sides begin with once, then each from where they part. */
export function pairText(chosen: PreviewExample, rejected: PreviewExample): string {
  const { bold, dim } = colorsFor(process.stdout)
  const at = chosen.parts_at ?? 0
  const title = [
    `${bold(chosen.source)} ${dim(`they part at token ${at + 1}`)}`,
    `chosen ${dim(counted(chosen))}${warned(chosen)}; rejected ${dim(counted(rejected))}${warned(rejected)}`,
  ]
  const named = (name: string, example: PreviewExample): Piece[] => [
    { text: `${name}\n`, paint: bold },
    ...pieces(slice(example, at, example.tokens.length)),
  ]
  const width = process.stdout.columns ?? COLUMNS
  const sides = sideBySide(named("chosen", chosen), named("rejected", rejected), width)
  return `${title.join("\n")}\n${joined(pieces(slice(chosen, 0, at)))}\n${sides}\n`
}

type Shown = Pick<PreviewExample, "tokens" | "loss_mask" | "token_class" | "pictures">

function slice({ tokens, loss_mask, token_class }: Shown, from: number, to: number): Shown {
  return {
    tokens: tokens.slice(from, to),
    loss_mask: loss_mask.slice(from, to),
    token_class: token_class.slice(from, to),
  }
}

/** A colour is set again on each line: pagers forget it at the line's end. */
const joined = (all: readonly Piece[]) =>
  all
    .map(({ text, paint }) =>
      text
        .split("\n")
        .map((line) => (line === "" ? "" : paint(line)))
        .join("\n"),
    )
    .join("")

const asItIs = (text: string) => text

function pieces(example: Shown): Piece[] {
  const { isColorSupported, dim, green, magenta, underline } = colorsFor(process.stdout)
  return runs(example).map(({ trained, tokenClass, text }) => {
    if (!isColorSupported) return { text: trained ? `[[${text}]]` : text, paint: asItIs }
    const end = (run: string) => underline(magenta(run))
    return { text, paint: !trained ? dim : tokenClass === 1 ? end : green }
  })
}

interface TokenRun {
  readonly trained: boolean
  readonly tokenClass: number
  readonly text: string
}

/** A picture's tokens say nothing: in their place what they stand for. */
const pictureText = ({ path, width, height, tokens }: PreviewPicture): string =>
  `[picture ${basename(path)}: ${width}x${height}, ${tokens} tokens]`

/** Neighbouring tokens of one kind, as one text. Without colour only the mask tells runs apart. */
function runs({ tokens, loss_mask, token_class, pictures = [] }: Shown): TokenRun[] {
  const { isColorSupported } = colorsFor(process.stdout)
  const found: { trained: boolean; tokenClass: number; text: string }[] = []
  const seen = new Map(pictures.map((picture) => [picture.at, picture]))
  let past = 0
  for (const [t, token] of tokens.entries()) {
    const picture = seen.get(t)
    if (picture) past = t + picture.tokens
    else if (t < past) continue
    const text = picture ? pictureText(picture) : token
    const trained = loss_mask[t] === 1
    const last = found.at(-1)
    const same =
      last?.trained === trained && (!isColorSupported || last.tokenClass === token_class[t])
    if (last !== undefined && same) last.text += text
    else found.push({ trained, tokenClass: token_class[t]!, text })
  }
  return found.map((run) => ({ ...run, text: wholeCharacters(run.text) }))
}

/** A character that several tokens share was written byte by byte; here it is one again. */
function wholeCharacters(text: string): string {
  return text.replaceAll(/(?:<0x[0-9A-F]{2}>)+/g, (bytes) => {
    const values = bytes.match(/[0-9A-F]{2}(?=>)/g)!.map((byte) => Number.parseInt(byte, 16))
    const character = new TextDecoder().decode(Uint8Array.from(values))
    return character.includes("\uFFFD") ? bytes : character
  })
}
