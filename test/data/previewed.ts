import type { PrepareOptions } from "../../src/data/prepare.ts"
import {
  type PreviewExample,
  type PreviewSummary,
  previewData,
} from "../../src/data/preview-rows.ts"
import { rowFile, tinyModel } from "./tiny-model.ts"

export interface Previewed extends PreviewSummary {
  readonly examples: readonly PreviewExample[]
  /** Of each example: what is trained in `⟦ ⟧`. */
  readonly marked: readonly string[]
  readonly codes: readonly string[]
}

/** What `dftune preview` would show of rows; every character is a token of the tiny model. */
export async function previewed(
  rows: readonly unknown[],
  {
    template,
    ...options
  }: Omit<Partial<PrepareOptions>, "template" | "sources"> & {
    /** Of the model; null: none. */
    readonly template?: string | null
    readonly layout?: PrepareOptions["template"]
  } = {},
): Promise<Previewed> {
  const { layout, ...rest } = options
  const examples: PreviewExample[] = []
  const summary = await previewData({
    tokenizer: tinyModel(template === undefined ? {} : { template }),
    ...rest,
    ...(layout === undefined ? {} : { template: layout }),
    sources: [{ path: rowFile(rows), weight: 1 }],
    examples: rows.length,
    scan: rows.length,
    show: (example) => void examples.push(example),
  })
  return {
    ...summary,
    examples,
    marked: examples.map(marked),
    codes: summary.lints.map(({ code }) => code),
  }
}

function marked({ tokens, loss_mask }: PreviewExample): string {
  let text = ""
  for (const [t, token] of tokens.entries()) {
    const [before, now] = [loss_mask[t - 1] ?? 0, loss_mask[t]!]
    text += `${before === 1 && now === 0 ? "⟧" : ""}${before === 0 && now === 1 ? "⟦" : ""}${token}`
  }
  return loss_mask.at(-1) === 1 ? `${text}⟧` : text
}
