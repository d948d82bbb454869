import { existsSync } from "node:fs"
import { join } from "node:path"
import { fileHash } from "../formats/index.ts"
import { version } from "../host/version.ts"
import type { DataPlan } from "./plan.ts"

const hashOrNone = (path: string) => (existsSync(path) ? fileHash(path) : "none")

/** What a run stands on, for its `config.json`: versions and hashes, by name. */
export async function runVersions({
  modelFolder,
  rows,
  dataKey,
  rollout,
}: DataPlan): Promise<Record<string, string>> {
  return {
    dftune: version(),
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
    model: modelFolder,
    model_config: await hashOrNone(join(modelFolder, "config.json")),
    tokenizer: await hashOrNone(join(modelFolder, "tokenizer.json")),
    data: rows.manifest.key,
    ...(rows.manifest.rows_sha256 === undefined ? {} : { rows: rows.manifest.rows_sha256 }),
    data_key: dataKey,
    ...(rollout?.code ?? {}),
    ...(typeof rows.manifest.options.day === "string" ? { day: rows.manifest.options.day } : {}),
  }
}
