/** The prompts of a run that samples: what each row asks, with all its fields. */

import { createHash } from "node:crypto"
import type { Config } from "../config/index.ts"
import { InputError } from "../errors.ts"
import { describeValue, isObject, type JsonObject } from "../formats/json.ts"
import { plural } from "../plural.ts"
import { randomStream } from "../random.ts"
import { renderOptionsOf } from "./batch.ts"
import { ASKED_KINDS, type AskedKind, askedKind } from "./layout.ts"
import { MAX_EXAMPLES } from "./lints.ts"
import { datedSetup, type PrepareOptions } from "./prepare.ts"
import { type Manifest, PREPARED_VERSION, type Prepared, type PreparedRow } from "./prepared.ts"
import { rawValues } from "./read-batch.ts"
import {
  type Asked,
  askedIds,
  askedOf,
  layoutParts,
  type RenderOptions,
  renderExample,
} from "./render.ts"
import { rowReading } from "./rows/index.ts"
import { readPrompt } from "./rows/prompt-row.ts"
import { resolveSources, sourceBatches } from "./sources.ts"

export interface DataPrompt {
  /** file:line. */
  readonly where: string
  /** What is asked, as a text or a conversation. */
  readonly asked: Asked
  readonly tokenIds: Int32Array
  readonly row: JsonObject
  /** The ids of the answer that the row holds, where demonstrations are asked for. */
  readonly demonstration?: Int32Array
  /** The ids of the same question with that answer beside it, where a teacher is asked so. */
  readonly shown?: Int32Array
}

export interface PromptData {
  readonly prompts: readonly DataPrompt[]
  /** The same as rows without a target, for all that asks of a run's rows. */
  readonly rows: Prepared
  /** Some of them, by index. */
  readonly part: (keeps: (index: number) => boolean) => PromptData
  readonly warnings: readonly {
    readonly code: string
    readonly message: string
    readonly hint: string
  }[]
}

export interface PromptOptions extends Pick<Config, "data"> {
  readonly prepare: PrepareOptions
  /** Tokens that a prompt may have. */
  readonly maxTokens: number
  /** What a row lacks beside its prompt, to end "file:line: ..."; undefined when nothing. */
  readonly rowProblem: (row: JsonObject) => string | undefined
  /** Tokens that a demonstration may have; left out: none is read. */
  readonly demonstrations?: number | undefined
  /** How a teacher is asked: {question} and {demonstration} stand for the row's. */
  readonly teacherPrompt?: string | undefined
  readonly signal?: AbortSignal | undefined
}

interface SourceCounts {
  readonly path: string
  rows: number
  long: number
  bad: number
  readonly weight: number
}

/**
 * Reads and tokenises all prompts of the sources; those that leave no room for an answer are left
 * out.
 *
 * @throws InputError naming file and line of a row that cannot be read, or that the rewards cannot
 * judge
 */
export async function readPrompts(options: PromptOptions): Promise<PromptData> {
  const { prepare, maxTokens, signal } = options
  const setup = await datedSetup(prepare)
  const render = await renderOptionsOf(setup)
  const sources = await resolveSources(prepare.sources, { signal })
  const counts: SourceCounts[] = sources.flatMap(({ files, weight }) =>
    files.map(({ path }) => ({ path, rows: 0, long: 0, bad: 0, weight })),
  )
  const prompts: DataPrompt[] = []
  const places: { readonly source: number; readonly line: number }[] = []
  const layouts = Object.fromEntries(ASKED_KINDS.map((kind) => [kind, 0])) as Record<
    AskedKind,
    number
  >
  const examples: string[] = []
  let longest = 0
  for await (const { file, batch } of sourceBatches(sources)) {
    signal?.throwIfAborted()
    const count = counts[file]!
    for (const { line, value } of rawValues(batch)) {
      const where = `${batch.path}:${line}`
      const found = promptOf(value, where, options, render)
      if (found === undefined) {
        count.bad++
        continue
      }
      if (found.tokenIds.length > maxTokens) {
        count.long++
        longest = Math.max(longest, found.tokenIds.length)
        if (examples.length < MAX_EXAMPLES) examples.push(where)
        continue
      }
      layouts[found.kind]++
      count.rows++
      prompts.push(found)
      places.push({ source: file, line })
    }
  }
  const long = counts.reduce((sum, count) => sum + count.long, 0)
  const bad = counts.reduce((sum, count) => sum + count.bad, 0)
  if (prompts.length === 0) {
    const read = counts.map(({ path }) => path).join(", ")
    throw new InputError(
      long > 0
        ? `${read}: each of the ${long} prompts has more than ${maxTokens} tokens, what data.max_length leaves beside rollout.max_new_tokens; raise data.max_length, or lower rollout.max_new_tokens`
        : `${read}: expected prompts, found no rows`,
    )
  }
  const warnings = [
    ...(long === 0
      ? []
      : [
          {
            code: "long-prompts",
            message: `${long} of ${long + prompts.length} prompts are left out: they have more than ${maxTokens} tokens, what data.max_length leaves beside rollout.max_new_tokens (${examples.join(", ")}; the longest has ${longest})`,
            hint: "raise data.max_length, or lower rollout.max_new_tokens",
          },
        ]),
    ...(bad === 0
      ? []
      : [
          {
            code: "bad-rows",
            message: `${bad} ${plural(bad, "row")} could not be read and ${bad === 1 ? "is" : "are"} left out (data.on_bad_row: skip)`,
            hint: "without on_bad_row: skip the first of them is named",
          },
        ]),
  ]
  return dataOf({ prompts, places, counts, layouts, day: setup.day }, warnings)
}

function dataOf(parts: PromptRowsParts, warnings: PromptData["warnings"]): PromptData {
  const { prompts, places, counts } = parts
  return {
    prompts,
    rows: promptRows(parts),
    warnings,
    part(keeps) {
      const kept = places.filter((_, i) => keeps(i))
      const own = counts.map((count, file) => {
        return { ...count, rows: kept.filter(({ source }) => source === file).length }
      })
      const left = prompts.filter((_, i) => keeps(i))
      return dataOf({ ...parts, prompts: left, places: kept, counts: own }, warnings)
    },
  }
}

/**
 * Takes prompts out, to measure on: chosen by the seed, and all rows with the same prompt with
 * them.
 *
 * @throws InputError when nothing would be left to train
 */
export function heldOutPrompts(
  data: PromptData,
  { split, seed }: { readonly split: number; readonly seed: number },
): { readonly train: PromptData; readonly held: PromptData } {
  const { prompts } = data
  const wanted = split < 1 ? Math.round(split * prompts.length) : split
  const same = new Map<string, number[]>()
  prompts.forEach(({ tokenIds }, i) => {
    const key = tokenIds.join(" ")
    same.set(key, [...(same.get(key) ?? []), i])
  })
  const random = randomStream(seed, "held-out prompts")
  const drawn = [...same.values()].map((rows) => ({ rows, at: random() }))
  const held = new Set<number>()
  for (const { rows } of drawn.sort((a, b) => a.at - b.at)) {
    if (held.size >= wanted) break
    for (const row of rows) held.add(row)
  }
  if (held.size === prompts.length) {
    throw new InputError(
      `data.eval_split: ${split} holds out all ${prompts.length} prompts; hold out fewer, or name others in data.eval`,
    )
  }
  return { train: data.part((i) => !held.has(i)), held: data.part((i) => held.has(i)) }
}

function promptOf(
  value: unknown,
  where: string,
  { prepare, data, rowProblem, demonstrations: most, teacherPrompt }: PromptOptions,
  render: RenderOptions,
): (DataPrompt & { readonly kind: AskedKind }) | undefined {
  try {
    if (!isObject(value)) {
      throw new InputError(`${where}: expected an object, got ${describeValue(value)}`)
    }
    const row = value as JsonObject
    const prompt = readPrompt(row, { columns: prepare.columns ?? {}, where })
    const asked = askedOf(prompt, layoutParts(render))
    const tokenIds = Int32Array.from(idsOf(asked, render, where))
    if (tokenIds.length === 0) throw new InputError(`${where}: the prompt is empty`)
    const problem = rowProblem(row)
    if (problem !== undefined) throw new InputError(`${where}: ${problem}`)
    const shown =
      most === undefined
        ? undefined
        : demonstrationOf(row, tokenIds, { where, prepare, render, most })
    return {
      ...{ where, asked, tokenIds, row, kind: askedKind(prompt, layoutParts(render)) },
      ...(shown ? { demonstration: shown } : {}),
      ...(shown && teacherPrompt !== undefined
        ? { shown: Int32Array.from(shownIds(asked, shown, { teacherPrompt, render, where })) }
        : {}),
    }
  } catch (error) {
    if (!(error instanceof InputError) || data.on_bad_row !== "skip") throw error
    return undefined
  }
}

interface DemonstrationParts {
  readonly where: string
  readonly prepare: PrepareOptions
  readonly render: RenderOptions
  readonly most: number
}

/**
 * The ids of a row's own answer, as training would lay it out behind the prompt.
 *
 * @throws InputError where the row has none, or does not lay it out behind these ids
 */
function demonstrationOf(
  row: JsonObject,
  prompt: Int32Array,
  { where, prepare, render, most }: DemonstrationParts,
): Int32Array {
  const { format = "auto", columns = {} } = prepare
  const { example, refusal } = rowReading(row, { format, purpose: "supervised", columns, where })
  if (refusal !== undefined) throw new InputError(`${where}: is no demonstration: ${refusal}`)
  const [whole] = renderExample(example, { ...render, maxLength: Number.MAX_SAFE_INTEGER }, where)
  const { tokenIds, lossMask } = whole!
  const end = lossMask.lastIndexOf(1) + 1
  const isBehind =
    prompt.every((id, t) => tokenIds[t] === id) &&
    end > prompt.length &&
    lossMask.slice(prompt.length, end).every((mask) => mask === 1)
  if (!isBehind) {
    throw new InputError(
      `${where}: expected a demonstration, an answer behind what the row asks (completion, solution, or a last message of the assistant); the row has ${Object.keys(row).slice(0, 8).join(", ")}`,
    )
  }
  if (end - prompt.length > most) {
    throw new InputError(
      `${where}: its demonstration has ${end - prompt.length} tokens, more than rollout.max_new_tokens ${most}; raise that, or leave the row out`,
    )
  }
  return Int32Array.from(tokenIds.slice(prompt.length, end))
}

interface ShownParts {
  readonly teacherPrompt: string
  readonly render: RenderOptions
  readonly where: string
}

/** What is asked, with the answer beside it: of a conversation in its last turn. */
function shownIds(
  asked: Asked,
  demonstration: Int32Array,
  { teacherPrompt, render, where }: ShownParts,
): number[] {
  const answer = render.tokenizer.decode([...demonstration], { skipSpecialTokens: true })
  const filled = (question: string) =>
    teacherPrompt
      .replaceAll("{question}", () => question)
      .replaceAll("{demonstration}", () => answer)
  if (typeof asked === "string") return idsOf(filled(asked), render, where)
  const last = asked.messages.at(-1)
  if (last?.role !== "user" || typeof last.content !== "string") {
    throw new InputError(
      `${where}: self-distill shows its teacher the demonstration in the last turn, which must be the user's text; it is of ${last?.role ?? "nobody"}`,
    )
  }
  const messages = [...asked.messages.slice(0, -1), { ...last, content: filled(last.content) }]
  return idsOf({ ...asked, messages }, render, where)
}

function idsOf(asked: Asked, render: RenderOptions, where: string): number[] {
  try {
    return askedIds(asked, render)
  } catch (error) {
    if (!(error instanceof InputError)) throw error
    throw new InputError(`${where}: ${error.message}`)
  }
}

interface PromptRowsParts {
  readonly prompts: readonly DataPrompt[]
  readonly places: readonly { readonly source: number; readonly line: number }[]
  readonly counts: readonly SourceCounts[]
  readonly layouts: Readonly<Record<AskedKind, number>>
  readonly day: string | null
}

/** Prompts as prepared rows, in memory: no token of them is a target. */
function promptRows({ prompts, places, counts, layouts, day }: PromptRowsParts): Prepared {
  const key = createHash("sha256")
  for (const { tokenIds, row } of prompts) {
    key.update(new Uint8Array(tokenIds.buffer, tokenIds.byteOffset, tokenIds.byteLength))
    key.update(JSON.stringify(row))
  }
  for (const { rows, weight } of counts) key.update(`${rows}:${weight}`)
  const manifest: Manifest = {
    version: PREPARED_VERSION,
    key: key.digest("hex"),
    purpose: "supervised",
    rows: prompts.length,
    tokens: prompts.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0),
    supervised_tokens: 0,
    sources: counts.map(({ path, rows, long, bad, weight }) => {
      return { path, rows, dropped: long, bad, truncated: 0, weight }
    }),
    shards: [],
    layouts,
    tokenizer: "",
    template_sha256: null,
    options: day === null ? {} : { day },
    lints: [],
  }
  const row = (index: number): PreparedRow => {
    const { tokenIds } = prompts[index]!
    const { source, line } = places[index]!
    return {
      tokenIds,
      lossMask: new Uint8Array(tokenIds.length),
      tokenClass: new Uint8Array(tokenIds.length),
      source: counts[source]!.path,
      line,
      weight: 1,
      value: 0,
    }
  }
  return {
    dir: "",
    manifest,
    rows: prompts.length,
    lengths: Int32Array.from(prompts, ({ tokenIds }) => tokenIds.length),
    sequences: (index) => [row(index)],
    sequenceLengths: (index) => [prompts[index]!.tokenIds.length],
    row,
    pair: (index) => ({ chosen: row(index), rejected: row(index) }),
    place: (index) => prompts[index]!.where,
    close() {},
  }
}
