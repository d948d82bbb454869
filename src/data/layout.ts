import type { ChatTemplate } from "../text/index.ts"
import { type Asked, askedOf, type LayoutParts, type PlainTexts } from "./render.ts"
import { askedText } from "./rendered-chat.ts"
import type { Columns, Example } from "./rows/index.ts"
import type { RowPrompt } from "./rows/prompt-row.ts"

/**
 * How a question stood before its answer: in the chat template, as a question with a newline after
 * it, as a plain text, or not at all (`text` rows).
 */
export const ASKED_KINDS = ["template", "question", "plain", "text"] as const
export type AskedKind = (typeof ASKED_KINDS)[number]

/** How a model's rows were laid out; whatever asks it later asks so. */
export interface Layout {
  readonly plainTexts: PlainTexts
  readonly columns: Columns
  /** Rows of each kind that it was trained on; null for a model of which nothing is known. */
  readonly trained: Readonly<Record<AskedKind, number>> | null
}

/** For a model that says nothing: as the keys of a row say. */
export const UNKNOWN_LAYOUT: Layout = { plainTexts: "auto", columns: {}, trained: null }

export function askedKind(prompt: RowPrompt, parts: LayoutParts): AskedKind {
  if (typeof askedOf(prompt, parts) !== "string") return "template"
  return prompt.question ? "question" : "plain"
}

/** Of an example as it is trained. */
export function trainedKind(example: Example, parts: LayoutParts): AskedKind {
  if (example.kind === "text") return "text"
  if (example.kind === "chat") return "template"
  return askedKind(example, parts)
}

/** The kind that a model was trained on most; undefined where nothing is known. */
export function mainKind({ trained }: Layout): AskedKind | undefined {
  if (trained === null) return undefined
  const [most] = ASKED_KINDS.toSorted((a, b) => trained[b] - trained[a])
  return trained[most!] > 0 ? most : undefined
}

/** As prepared rows say it. */
export function layoutOf(
  plainTexts: PlainTexts,
  columns: Columns,
  trained: Layout["trained"],
): Layout {
  // where no plain text was trained, `none` says nothing of how one is asked
  const saysNothing =
    plainTexts === "none" && trained !== null && trained.question + trained.plain === 0
  return { plainTexts: saysNothing ? "auto" : plainTexts, columns, trained }
}

/**
 * What somebody types, put as the model was trained to be asked, below a system text if there is
 * one. With a system text, a model of which nothing is known is asked a question.
 */
export function typedPrompt(typed: string, layout: Layout, system?: string): RowPrompt {
  const kind = mainKind(layout)
  const told = system === undefined ? {} : { system }
  if (kind === "template") {
    const first = system === undefined ? [] : [{ role: "system", content: system }]
    return { prompt: [...first, { role: "user", content: typed }] }
  }
  const isQuestion = kind === "question" || (kind === undefined && system !== undefined)
  return isQuestion ? { prompt: typed, question: true, ...told } : { prompt: typed, ...told }
}

/** A question asked in another layout than the trained one: both texts. */
export interface LayoutConflict {
  readonly asked: string
  readonly trained: string
}

/**
 * How the text of a prompt differs from how the model's rows were laid out; undefined when it does
 * not, and when nothing is known of them.
 */
export function layoutConflict(
  prompt: RowPrompt,
  layout: Layout,
  {
    template,
    plainTexts,
  }: { readonly template: ChatTemplate | null; readonly plainTexts: PlainTexts },
): LayoutConflict | undefined {
  const hasTemplate = template !== null
  const main = mainKind(layout)
  const kind = askedKind(prompt, { hasTemplate, plainTexts })
  if (main === undefined || main === "text" || layout.trained![kind] > 0) return undefined
  const said = typeof prompt.prompt === "string" ? prompt.prompt : prompt.prompt.at(-1)!.content
  const asTrained: RowPrompt =
    main === "template"
      ? { prompt: [{ role: "user", content: said }] }
      : { prompt: said, ...(main === "question" ? { question: true as const } : {}) }
  const written = (asked: Asked): string => {
    if (typeof asked === "string") return asked
    return template === null ? said : askedText(asked, template)
  }
  // a question that had no template to go through then has none now
  const then = { hasTemplate: main === "template", plainTexts: layout.plainTexts }
  const conflict = {
    asked: written(askedOf(prompt, { hasTemplate, plainTexts })),
    trained: written(askedOf(asTrained, then)),
  }
  return conflict.asked === conflict.trained ? undefined : conflict
}
