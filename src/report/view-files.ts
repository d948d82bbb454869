/** The page's components as one script and one style, which a report holds in itself. */
import { createHash } from "node:crypto"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { assert } from "../errors.ts"
import { builtFolder } from "../host/built-folder.ts"

export interface ReportView {
  readonly script: string
  readonly style: string
}

export const BUILT_VIEW = builtFolder("report-view")

/** Undefined in a checkout that was not built: its reports are without scripts. */
export function builtView(folder: string = BUILT_VIEW): ReportView | undefined {
  if (!existsSync(join(folder, "view.js"))) return undefined
  const script = readFileSync(join(folder, "view.js"), "utf8").trim()
  const style = readFileSync(join(folder, "view.css"), "utf8").trim()
  assert(!/<\/(script|style)|<!--/i.test(script + style), "the report's view ends its own element")
  return { script, style }
}

/** How a policy names a script. */
export const sourceHash = (script: string): string =>
  `'sha256-${createHash("sha256").update(script).digest("base64")}'`

/** JSON inside a script element: no text can end it. */
export const embeddedJson = (value: unknown): string =>
  JSON.stringify(value).replaceAll("<", "\\u003c")
