import { createHash } from "node:crypto"
import { createReadStream, existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import type { RunPlan } from "./plan.ts"

function packageVersion(): string {
  const manifest = readFileSync(new URL("../../package.json", import.meta.url), "utf8")
  return (JSON.parse(manifest) as { version: string }).version
}

async function fileHash(path: string): Promise<string> {
  if (!existsSync(path)) return "none"
  const hash = createHash("sha256")
  for await (const part of createReadStream(path)) hash.update(part)
  return hash.digest("hex")
}

/** What a run stands on, for its `config.json`: versions and hashes, by name. */
export async function runVersions({ modelFolder, rows }: RunPlan): Promise<Record<string, string>> {
  return {
    dftune: packageVersion(),
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
    model: modelFolder,
    model_config: await fileHash(join(modelFolder, "config.json")),
    tokenizer: await fileHash(join(modelFolder, "tokenizer.json")),
    data: rows.manifest.key,
  }
}
