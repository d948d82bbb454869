import { InputError } from "../errors.ts"
import type { Tokenizer } from "../text/index.ts"
import { type BatchSetup, renderOptionsOf } from "./batch.ts"
import { exactlyNoised } from "./exact-noise.ts"
import { rowHash } from "./hash.ts"
import { HashSet, hashHalves } from "./hash-set.ts"
import { type LeftOut, leavesOut, rowsToLeaveOut } from "./leave-out.ts"
import { type Lint, lintsOf, MAX_EXAMPLES, ROW_NOTES, type RowNote } from "./lints.ts"
import { pairFault } from "./pair-faults.ts"
import type { PrepareOptions } from "./prepare.ts"
import { datedSetup } from "./prepare.ts"
import { readBatch } from "./read-batch.ts"
import type { Rendered } from "./render.ts"
import { tallies, unusedKeys } from "./row-counter.ts"
import { resolveSources, sourceBatches, wholeFiles } from "./sources.ts"
import { unusedKeysOf } from "./unwritten.ts"

/** One sequence as `preview --json` prints it (docs/data.md). */
export interface PreviewExample {
  /** `file:line` */
  readonly source: string
  /** Of a preference row: which of its answers. */
  readonly side?: "chosen" | "rejected"
  /**
   * Of a preference row: the first token in which its answers differ; before it both are the same.
   */
  readonly parts_at?: number
  readonly text: string
  readonly token_ids: readonly number[]
  readonly tokens: readonly string[]
  readonly loss_mask: readonly number[]
  /** 0 content, 1 end of turn, 2 other special or template token. */
  readonly token_class: readonly number[]
  readonly warnings: readonly string[]
  /** In the order of their tokens; only where the row has some. */
  readonly pictures?: readonly PreviewPicture[]
}

/** As the model's processor gets it; its tokens are `at` to `at + tokens`. */
export interface PreviewPicture {
  readonly path: string
  readonly width: number
  readonly height: number
  readonly at: number
  readonly tokens: number
}

export interface PreviewSummary {
  /** Rows looked at, kept or not. */
  readonly rows: number
  /** Whether these were all there are. */
  readonly complete: boolean
  readonly tokens: number
  readonly supervisedTokens: number
  readonly lints: readonly Lint[]
}

interface PreviewOptions extends Omit<PrepareOptions, "workers" | "cache" | "onProgress"> {
  /** Rows handed to `show`. */
  readonly examples: number
  /** Rows looked at for the lints; at least those that are shown. */
  readonly scan: number
  /** Tokens that the model has embeddings for, where it is known. */
  readonly vocabSize?: number | undefined
  /** Called for each sequence of the first `examples` rows. */
  readonly show: (example: PreviewExample) => void | Promise<void>
}

/**
 * Tokenises the first rows exactly as training would, without keeping them.
 *
 * @throws InputError as `prepareData` does, but for rows without supervised tokens: they are shown.
 */
export async function previewData(options: PreviewOptions): Promise<PreviewSummary> {
  const { sources, examples, scan, show, onBadRow = "error", signal } = options
  const setup = await datedSetup(options)
  const resolved = await resolveSources(sources, { signal })
  const rendering = await renderOptionsOf(setup)
  const counts = previewCounts(setup, {
    vocabSize: options.vocabSize ?? Number.POSITIVE_INFINITY,
    tokenText: (id) => rendering.tokenizer.tokenText(id),
  })
  const leftOut =
    options.leaveOut && leavesOut(options.leaveOut)
      ? await rowsToLeaveOut(resolved, options.leaveOut, { ...setup, signal })
      : undefined
  const noisy = await exactlyNoised(resolved, { ...setup, leftOut: leftOut?.lines, signal })
  let rows = 0
  const sourceOf = resolved.flatMap(({ path, files }) => files.map(() => path))
  for await (const { batch, file } of sourceBatches(resolved)) {
    signal?.throwIfAborted()
    counts.found(batch.path)
    const own = { ...batch, noisy: noisy[file] }
    for (const row of readBatch(own, { ...setup, showRefused: true }, rendering)) {
      if (rows >= scan && rows >= examples)
        return { rows, complete: false, ...withLints(counts.finish([]), leftOut) }
      const source = `${batch.path}:${row.line}`
      rows++
      if (leftOut?.lines[file]?.has(row.line)) continue
      if ("problem" in row) {
        if (onBadRow === "error") throw new InputError(row.problem)
        counts.bad(source)
        continue
      }
      const unused = unusedKeysOf(row.reading, rendering.template)
      counts.unused(sourceOf[file]!, batch.path, row.line, unused)
      if ("refusal" in row) counts.untrained(row.refusal, batch.path, row.line)
      else counts.add(source, row.sides)
      if (rows > examples) continue
      const parts_at = partingOf(row.sides)
      for (const [i, side] of row.sides.entries()) {
        const which =
          parts_at === undefined ? {} : { side: (["chosen", "rejected"] as const)[i]!, parts_at }
        const shown = shownTokens(side, rendering.tokenizer)
        const warnings = "refusal" in row ? ["untrained-rows"] : shown.warnings
        await show({ source, ...which, ...shown, warnings })
      }
    }
  }
  return { rows, complete: true, ...withLints(counts.finish(wholeFiles(resolved)), leftOut) }
}

const withLints = <Counts extends { readonly lints: readonly Lint[] }>(
  counts: Counts,
  leftOut: LeftOut | undefined,
): Counts => ({ ...counts, lints: [...(leftOut?.lints ?? []), ...counts.lints] })

/**
 * The first token in which two sides differ, be it that one has ended; undefined for one sequence.
 */
function partingOf([chosen, rejected]: readonly Rendered[]): number | undefined {
  if (!chosen || !rejected) return undefined
  const [a, b] = [chosen.tokenIds, rejected.tokenIds]
  const at = a.findIndex((id, t) => id !== b[t])
  return at < 0 ? Math.min(a.length, b.length) : at
}

function shownTokens(
  rendered: Rendered,
  tokenizer: Tokenizer,
): Omit<PreviewExample, "source" | "side" | "parts_at"> {
  const { tokenIds, lossMask, tokenClass, notes, supervised, pictures = [] } = rendered
  return {
    text: tokenizer.decode(tokenIds),
    token_ids: tokenIds,
    tokens: tokenIds.map((id) => tokenizer.tokenText(id)),
    loss_mask: lossMask,
    token_class: tokenClass,
    warnings: [...notes, ...(supervised === 0 ? ["no-supervised-tokens"] : [])],
    ...(pictures.length === 0
      ? {}
      : {
          pictures: pictures.map(({ path, width, height, at, tokens }) => {
            return { path, width, height, at, tokens }
          }),
        }),
  }
}

interface Vocabulary {
  readonly vocabSize: number
  readonly tokenText: (id: number) => string
}

/** Ids that the model has no embedding for: a run would not start. */
function foreignTokens(
  ids: ReadonlyMap<number, string>,
  { vocabSize, tokenText }: Vocabulary,
): Lint[] {
  if (ids.size === 0) return []
  const [[id, place] = [0, ""]] = ids
  return [
    {
      code: "unknown-token",
      severity: "error",
      message: `${place}: token ${id} (${JSON.stringify(tokenText(id))}) has no row in the model, whose vocab_size is ${vocabSize}: the tokenizer knows more tokens than the model`,
      hint: "resize the model's embeddings to the tokenizer, or take the tokenizer that belongs to it",
      count: ids.size,
      examples: [...ids.values()].slice(0, MAX_EXAMPLES),
    },
  ]
}

function previewCounts({ purpose, maxLength, onLongPair }: BatchSetup, vocabulary: Vocabulary) {
  const foreign = new Map<number, string>()
  const tally = () => ({ count: 0, examples: [] as string[] })
  const note = (to: { count: number; examples: string[] }, source: string): void => {
    to.count++
    if (to.examples.length < MAX_EXAMPLES) to.examples.push(source)
  }
  const [dropped, bad, duplicates] = [tally(), tally(), tally()]
  const untrained = tallies()
  const unused = unusedKeys()
  const notes = new Map(ROW_NOTES.map((name) => [name, tally()] as const))
  const seen = new HashSet()
  const found = new Set<string>()
  let [rows, tokens, supervisedTokens] = [0, 0, 0]
  return {
    found: (path: string) => void found.add(path),
    bad: (source: string) => note(bad, source),
    untrained: (said: string, path: string, line: number) => untrained.add(said, path, [line]),
    unused: (source: string, path: string, line: number, keys: readonly string[]) => {
      for (const key of keys) unused.add(source, path, key, [line])
    },
    add: (source: string, sides: readonly Rendered[]): void => {
      const fault = pairFault(sides, onLongPair)
      if (fault) {
        note(notes.get(fault)!, source)
        return
      }
      if (sides.some(({ supervised }) => supervised === 0)) {
        note(dropped, source)
        return
      }
      rows++
      for (const { tokenIds, supervised } of sides) {
        tokens += tokenIds.length
        supervisedTokens += supervised
        for (const id of tokenIds)
          if (id >= vocabulary.vocabSize && !foreign.has(id)) foreign.set(id, source)
      }
      for (const name of new Set<RowNote>(sides.flatMap((side) => side.notes)))
        note(notes.get(name)!, source)
      const [low, high] = hashHalves(BigInt64Array.of(rowHash(sides)))
      if (!seen.add(low!, high!)) note(duplicates, source)
    },
    /** @param files all that were read to their end */
    finish: (
      files: readonly string[],
    ): Pick<PreviewSummary, "tokens" | "supervisedTokens" | "lints"> => {
      const noted = new Map([...notes].filter(([, { count }]) => count > 0))
      const lints = lintsOf({
        purpose,
        maxLength,
        rows,
        tokens,
        supervisedTokens,
        dropped,
        bad,
        untrained: untrained.all,
        unusedKeys: unused.all(),
        duplicates,
        notes: noted,
        emptyFiles: files.filter((path) => !found.has(path)),
      })
      return {
        tokens,
        supervisedTokens,
        lints: [...foreignTokens(foreign, vocabulary), ...lints],
      }
    },
  }
}
