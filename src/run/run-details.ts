/**
 * What a run's page draws, as bytes: the server writes them beside the run and sends them as they
 * are.
 */
import { isObject } from "../formats/json.ts"
import { isRunEvent } from "./event-fields.ts"
import type { RunDetails } from "./run-index.ts"
import { decodeTable, encodeTable } from "./step-table.ts"

/** Of these bytes; others are made anew. */
export const INDEX_VERSION = 1

/** `last`: the id of the last event that is in them. */
export function detailsBytes(
  { columns, histograms, ...events }: RunDetails,
  last: string | undefined,
): Uint8Array<ArrayBuffer> {
  const rest = { version: INDEX_VERSION, last, ...events, histograms: [...histograms] }
  return encodeTable({ rest, columns })
}

/** Undefined for other bytes; what a stranger wrote is looked through. */
export function detailsOf(
  bytes: Uint8Array<ArrayBuffer>,
): { readonly details: RunDetails; readonly last: string | undefined } | undefined {
  const table = decodeTable(bytes)
  const { rest } = table ?? {}
  if (!table || !isObject(rest) || rest.version !== INDEX_VERSION) return undefined
  const { last, starts, evals, warnings, checkpoints, rollouts, ends, histograms } = rest
  if (last !== undefined && typeof last !== "string") return undefined
  const lists = { starts, evals, warnings, checkpoints, rollouts, ends }
  const areEvents = (list: unknown) => Array.isArray(list) && list.every(isRunEvent)
  if (!Object.values(lists).every(areEvents)) return undefined
  if (!isEntries(histograms, isHistograms)) return undefined
  const columns = new Map([...table.columns].map(([name, values]) => [name, Array.from(values)]))
  const events = lists as unknown as RunDetails
  const ofNames = new Map(histograms) as RunDetails["histograms"]
  return { details: { ...events, columns, histograms: ofNames }, last }
}

export const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && Number(value) >= 0

export const areNumbers = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((one) => one === null || typeof one === "number")

export function isEntries(
  value: unknown,
  kind: (value: unknown) => boolean,
): value is [string, never][] {
  const isEntry = (entry: unknown) =>
    Array.isArray(entry) && typeof entry[0] === "string" && kind(entry[1])
  return Array.isArray(value) && value.every(isEntry)
}

const isHistograms = (value: unknown): boolean =>
  isObject(value) &&
  areNumbers(value.steps) &&
  Array.isArray(value.counts) &&
  value.counts.every(areNumbers) &&
  isCount(value.every) &&
  isCount(value.filled)
