/**
 * Before `npm pack`: the links of README.md lead to the package's own files on a network that
 * serves npm's packages, since npm's page shows the README and no folder beside it. With --restore,
 * after it, README.md is as it was.
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const page = join(root, "README.md")
/** Not beside it: npm packs whatever is called README. */
const kept = join(root, "node_modules", ".README.md.original")

/** Links and pictures that lead to a file of the package, made absolute; others stay. */
export function absoluteLinks(markdown, { name, version }) {
  const files = `https://unpkg.com/${name}@${version}/`
  return markdown.replaceAll(/\]\((?![a-z]+:|#)([^)\s]+)\)/g, (_, path) => `](${files}${path})`)
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  if (process.argv.includes("--restore")) {
    if (existsSync(kept)) renameSync(kept, page)
  } else {
    const text = readFileSync(existsSync(kept) ? kept : page, "utf8")
    if (!existsSync(kept)) renameSync(page, kept)
    const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
    writeFileSync(page, absoluteLinks(text, manifest))
  }
}
