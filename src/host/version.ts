import { readFileSync } from "node:fs"

/** The package's version, from the package.json beside `src` and `dist`. */
export function version(): string {
  const manifest = readFileSync(new URL("../../package.json", import.meta.url), "utf8")
  return (JSON.parse(manifest) as { version: string }).version
}
