import type { JsonObject } from "../formats/json.ts"
import type { Sample } from "./sample-source.ts"

/** What did not become a completion among many samples, for people and for `--json`. */
export class UnansweredCount {
  /** Samples without a completion. */
  errors = 0
  /** Samples that hold a reasoning and nothing besides. */
  reasoningOnly = 0
  /** The first error. */
  first: string | undefined
  readonly #reasons = new Map<string, number>()

  add({ completion, error, reasoning, finishReason }: Sample): void {
    if (error !== undefined) {
      this.errors++
      this.first ??= error
    } else if (completion === "" && reasoning !== undefined) this.reasoningOnly++
    if (finishReason === "stop" || finishReason === "length") return
    this.#reasons.set(finishReason, (this.#reasons.get(finishReason) ?? 0) + 1)
  }

  inWords(): string[] {
    const lines: string[] = []
    if (this.errors > 0) {
      const rows = this.errors === 1 ? "1 sample has" : `${this.errors} samples have`
      lines.push(`${rows} no completion; the row's "error" says why. The first: ${this.first}`)
    }
    if (this.reasoningOnly > 0) {
      lines.push(
        `${this.reasoningOnly} answers hold a reasoning and no completion (see reasoning_content); ` +
          "give them more room with --max-new-tokens",
      )
    }
    for (const [reason, count] of this.#reasons) {
      if (reason !== "error") lines.push(`${count} ended with finish_reason ${reason}`)
    }
    return lines
  }

  record(): JsonObject {
    return this.errors === 0 ? {} : { without_completion: this.errors }
  }
}
