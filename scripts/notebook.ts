/**
 * Runs the cells of notebooks/first-model.ipynb in order, in an empty folder, as a notebook does:
 *
 *     npx tsx scripts/notebook.ts [--package dftune-0.1.0.tgz] [--model demo]
 *
 * Without options as Colab would: the released package and a model of the hub. `--model demo` is
 * the model in the package. Needs bash and a Python whose pip may install (a virtual environment is
 * made).
 */
import { spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, join, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"

export const NOTEBOOK = fileURLToPath(new URL("../notebooks/first-model.ipynb", import.meta.url))

interface Notebook {
  readonly nbformat: number
  readonly cells: readonly {
    readonly id: string
    readonly cell_type: "markdown" | "code"
    readonly source: readonly string[]
    readonly outputs?: readonly unknown[]
  }[]
}

export const readNotebook = (): Notebook => JSON.parse(readFileSync(NOTEBOOK, "utf8")) as Notebook

const MAGIC = "%%bash\n"

/** The scripts of the code cells, each for a bash of its own: what `%%bash` means. */
export function bashCells({ cells }: Notebook): { readonly id: string; readonly script: string }[] {
  return cells.flatMap(({ id, cell_type, source }) => {
    if (cell_type !== "code") return []
    const text = source.join("")
    if (!text.startsWith(MAGIC)) throw new Error(`${id}: expected a cell that begins with %%bash`)
    return [{ id, script: text.slice(MAGIC.length) }]
  })
}

function run(folder: string, options: { package?: string; model?: string }): void {
  const python = process.env.DFTUNE_PYTHON ?? "python3"
  const made = spawnSync(python, ["-m", "venv", join(folder, "venv")], { stdio: "inherit" })
  if (made.status !== 0) throw new Error(`${python} -m venv: exit code ${made.status}`)
  const model = options.model === "demo" ? "node_modules/dftune/demo/model" : options.model
  const own = Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name))
  const env = {
    ...Object.fromEntries(own),
    PATH: `${join(folder, "venv", "bin")}${delimiter}${process.env.PATH}`,
    ...(options.package === undefined ? {} : { DFTUNE_PACKAGE: resolve(options.package) }),
    ...(model === undefined ? {} : { DFTUNE_MODEL: model }),
  }
  for (const { id, script } of bashCells(readNotebook())) {
    console.error(`\n--- ${id}\n${script}\n---`)
    const cell = spawnSync("bash", ["-c", script], { cwd: folder, env, stdio: "inherit" })
    if (cell.status !== 0) throw new Error(`${id}: exit code ${cell.status}`)
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: { package: { type: "string" }, model: { type: "string" } },
  })
  const folder = mkdtempSync(join(tmpdir(), "dftune-notebook-"))
  try {
    run(folder, values)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
