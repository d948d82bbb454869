import { existsSync } from "node:fs"
import { dirname, join } from "node:path"
import type { Config } from "../config/index.ts"
import {
  hashOfRows,
  mendedFaults,
  openPrepared,
  type PreparedData,
  type PrepareOptions,
  preparedKeyOf010,
  preparedState,
} from "../data/index.ts"
import { InputError } from "../errors.ts"
import { RUN_FILES, readRun } from "../run/run-folder.ts"

/** The rows that a run trains on, and the name by which its checkpoints know them. */
export interface RowsToTrain {
  readonly prepared: PreparedData
  readonly dataKey: string
}

/**
 * A resumed run goes on with rows that are the same as its own, whatever version prepared them.
 * Where they differ it goes on with its own only when it is told to (`keep_rows`).
 *
 * @throws InputError saying which rows differ, when its own are still there to compare
 */
export async function rowsToResume(
  config: Config,
  prepared: PreparedData,
  asked: PrepareOptions,
): Promise<RowsToTrain> {
  const now = await hashOfRows(prepared.dir, prepared.manifest)
  const then = config.resume === false ? undefined : ownRows(config)
  if (then === undefined) return { prepared, dataKey: now }
  if (then.rows === now) return { prepared, dataKey: then.dataKey }
  const dir = join(dirname(prepared.dir), then.key)
  if (dir === prepared.dir) return { prepared, dataKey: now }
  const found = await preparedState(dir)
  if (found.state === "whole") {
    const { manifest } = found
    const own: PreparedData = { dir, manifest, lints: manifest.lints, fromCache: true }
    const hash = await hashOfRows(dir, manifest)
    if (hash === now || config.keep_rows) return { prepared: own, dataKey: then.dataKey }
    throw new InputError(await differences({ own, now: prepared, asked, key: then.key }, config))
  }
  if (config.keep_rows) {
    throw new InputError(
      `${config.output_dir}: the rows of this run are no longer in the cache (${dir}), so that keep_rows has nothing to keep; start anew in another output_dir`,
    )
  }
  // without the rows themselves: the same files and settings, and as many trained tokens as then
  const sameFiles = then.rows === undefined && (await preparedKeyOf010(asked)) === then.key
  if (sameFiles && then.supervisedTokens === prepared.manifest.supervised_tokens)
    return { prepared, dataKey: then.dataKey }
  if (!sameFiles) return { prepared, dataKey: now } // the checkpoint says that the data is another
  throw new InputError(
    `${config.output_dir}: its rows were made by an earlier dftune, which made ${then.supervisedTokens} trained tokens of the same files; now they are ${prepared.manifest.supervised_tokens}. ` +
      "Its own rows are no longer in the cache, so that the run cannot go on with them; start anew in another output_dir",
  )
}

/** The day that a resumed run's template was told when the run began; undefined for a new run. */
export function dayOfRun(config: Config): string | undefined {
  return config.resume === false ? undefined : ownRows(config)?.day
}

/** What the run's folder says of its rows; undefined when it says nothing. */
function ownRows({ resume, output_dir }: Config) {
  const folder = typeof resume === "string" ? dirname(dirname(resume)) : output_dir
  if (!existsSync(join(folder, RUN_FILES.events))) return undefined
  const { record, events } = readRun(folder)
  const versions = record?.versions as Readonly<Record<string, string | undefined>> | undefined
  if (versions?.data === undefined || !/^[0-9a-f]{64}$/.test(versions.data)) return undefined
  const start = events.find(({ type }) => type === "run.start")
  return {
    key: versions.data,
    rows: versions.rows,
    day: versions.day,
    dataKey: versions.data_key ?? versions.rows ?? versions.data,
    supervisedTokens: start?.type === "run.start" ? start.supervised_tokens_per_epoch : undefined,
  }
}

const MAX_SHOWN = 3

interface Compared {
  readonly own: PreparedData
  readonly now: PreparedData
  readonly asked: PrepareOptions
  /** Of the run's own rows. */
  readonly key: string
}

/** Which rows are others now, and why they may be. */
async function differences(compared: Compared, config: Config): Promise<string> {
  const { own, now } = compared
  const [before, after] = [await openPrepared(own.dir), await openPrepared(now.dir)]
  try {
    const places = new Map<string, number>()
    for (let row = 0; row < before.rows; row++) places.set(before.place(row), row)
    const changed: string[] = []
    const added: string[] = []
    for (let row = 0; row < after.rows; row++) {
      const place = after.place(row)
      const old = places.get(place)
      places.delete(place)
      if (old === undefined) added.push(place)
      else if (!isSameRow(before, old, after, row)) changed.push(place)
    }
    const gone = [...places.keys()]
    const said = [
      ["are tokenised or masked otherwise", changed],
      ["are left out", gone],
      ["are new", added],
    ] as const
    const parts = said
      .filter(([, rows]) => rows.length > 0)
      .map(
        ([what, rows]) =>
          `${rows.length} ${what} (${rows.slice(0, MAX_SHOWN).join(", ")}${rows.length > MAX_SHOWN ? ", ..." : ""})`,
      )
    const why = await whyOf(compared, [...gone, ...changed])
    return (
      `${config.output_dir}: of the rows of this run ${parts.join("; ")}${parts.length === 0 ? "the order is another" : ""}. ${why} ` +
      "--keep-rows goes on with the rows as they were; or start anew in another output_dir"
    )
  } finally {
    before.close()
    after.close()
  }
}

type OpenRows = Awaited<ReturnType<typeof openPrepared>>

function isSameRow(before: OpenRows, old: number, after: OpenRows, row: number): boolean {
  const others = after.sequences(row)
  return before.sequences(old).every((side, i) => {
    const other = others[i]!
    return (["tokenIds", "lossMask", "tokenClass"] as const).every((column) =>
      Buffer.from(side[column].buffer).equals(Buffer.from(other[column].buffer)),
    )
  })
}

/** Faults are looked for in this many rows. */
const MAX_READ = 20

async function whyOf(
  { own, now, asked, key }: Compared,
  places: readonly string[],
): Promise<string> {
  const { files, version, options } = own.manifest
  const hashes = new Map(files?.map(({ path, sha256 }) => [path, sha256]))
  const others = (now.manifest.files ?? []).filter(
    ({ path, sha256 }) => hashes.get(path) !== sha256,
  )
  if (files !== undefined && others.length > 0)
    return `These files are others than then: ${others.map(({ path }) => path).join(", ")}.`
  const isSame =
    version === 1
      ? (await preparedKeyOf010(asked)) === key
      : JSON.stringify(options) === JSON.stringify(now.manifest.options)
  if (!isSame)
    return "The files, the tokenizer, the template or the config's data settings are others than then."
  const faults = await mendedFaults(asked, places.slice(0, MAX_READ))
  return `The dftune that made them had faults that are mended: ${faults.join("; ")}.`
}
