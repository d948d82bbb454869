/**
 * The Python that runs the worker: found, checked, or made. Nothing of it is needed by the local
 * engine.
 */
import { type SpawnOptions, spawn, spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { InputError } from "../../errors.ts"
import { cacheFolder } from "../../host/cache-folder.ts"

/** The folder that holds the package `dftune_worker`, beside `src` and `dist`. */
export const WORKER_FOLDER = fileURLToPath(new URL("../../../worker", import.meta.url))

export interface PythonEnvironment {
  readonly python: string
  readonly versions: Readonly<Record<string, string>>
  /** GPUs that PyTorch can use. */
  readonly gpus: number
}

const LEAST: Readonly<Record<string, string>> = {
  python: "3.10",
  torch: "2.6",
  transformers: "5.0",
  peft: "0.15",
  safetensors: "0.4",
  numpy: "1.26",
}
const SETUP = "dftune torch setup makes an environment, or name one with engine.python"

const PACKAGES = Object.keys(LEAST).filter((name) => name !== "python")

/** Versions by metadata; asking torch for its GPUs means importing it, which takes seconds. */
const PROBE = `
import importlib.metadata as m, json, sys
out = {"python": sys.version.split()[0]}
for p in sys.argv[2:]:
    try: out[p] = m.version(p)
    except m.PackageNotFoundError: pass
gpus = 0
if "torch" in out and sys.argv[1] == "gpus":
    import torch
    gpus = torch.cuda.device_count()
print(json.dumps({"versions": out, "gpus": gpus}))
`

function probe(python: string, what: "gpus" | "versions"): Omit<PythonEnvironment, "python"> {
  const { status, stdout, stderr, error } = spawnSync(python, ["-c", PROBE, what, ...PACKAGES], {
    encoding: "utf8",
    timeout: 120_000,
  })
  if (error === undefined && status === 0) return JSON.parse(stdout)
  const why = error?.message ?? stderr.trim().split("\n").at(-1)
  throw new InputError(`engine torch: ${python} does not run (${why}); ${SETUP}`)
}

/** What of the worker's needs these versions do not meet, each in words. */
function unmet(versions: PythonEnvironment["versions"]): string[] {
  return Object.entries(LEAST).flatMap(([name, least]) => {
    const came = versions[name]
    if (came === undefined) return [`${name} ${least} or later is absent`]
    return isOlder(came, least) ? [`${name} is ${came}, expected ${least} or later`] : []
  })
}

/**
 * The Python that a run would use and what it lacks, without importing torch; undefined when there
 * is none.
 */
export function describePython(
  python: string,
):
  | { readonly versions: PythonEnvironment["versions"]; readonly lacks: readonly string[] }
  | undefined {
  try {
    const { versions } = probe(python, "versions")
    return { versions, lacks: unmet(versions) }
  } catch (error) {
    if (error instanceof InputError) return undefined
    throw error
  }
}

export function managedPython(): string {
  const windows = process.platform === "win32"
  return join(cacheFolder(), "torch", ...(windows ? ["Scripts", "python.exe"] : ["bin", "python"]))
}

/**
 * The interpreter to use: the config's own if it names one, DFTUNE_PYTHON, the managed one,
 * python3.
 */
export function choosePython(configured: string): string {
  if (configured !== "python3") return configured
  if (process.env.DFTUNE_PYTHON) return process.env.DFTUNE_PYTHON
  return existsSync(managedPython()) ? managedPython() : configured
}

/**
 * Throws InputError when there is no such Python, or when what the worker needs is absent or too
 * old.
 */
export function checkPython(python: string): PythonEnvironment {
  const { versions, gpus } = probe(python, "gpus")
  const wrong = unmet(versions)
  if (wrong.length > 0)
    throw new InputError(`engine torch: ${python}: ${wrong.join("; ")}; ${SETUP}`)
  return { python, versions, gpus }
}

export function isOlder(version: string, least: string): boolean {
  const numbers = (text: string) =>
    text
      .split(/[.+]/)
      .slice(0, 2)
      .map((part) => Number.parseInt(part, 10))
  const [major = 0, minor = 0] = numbers(version)
  const [leastMajor = 0, leastMinor = 0] = numbers(least)
  return major < leastMajor || (major === leastMajor && minor < leastMinor)
}

export interface SetupOptions {
  /** Use this interpreter as it is, and only check it. */
  readonly python?: string
  readonly signal?: AbortSignal
}

/**
 * Makes the managed environment with the worker's pinned requirements: by uv where it is, else by
 * venv and pip.
 */
export async function setupEnvironment({
  python,
  signal,
}: SetupOptions = {}): Promise<PythonEnvironment> {
  if (python !== undefined) return checkPython(python)
  const made = managedPython()
  const folder = join(cacheFolder(), "torch")
  const requirements = join(WORKER_FOLDER, "requirements.txt")
  const hasUv = spawnSync("uv", ["--version"]).status === 0
  if (hasUv) {
    await act("uv", ["venv", "--allow-existing", "--python", `>=${LEAST.python}`, folder], signal)
    await act("uv", ["pip", "install", "--python", made, "-r", requirements], signal)
  } else {
    const found = describePython("python3")?.versions.python
    if (found !== undefined && isOlder(found, LEAST.python!)) {
      throw new InputError(
        `python3 is ${found}, expected ${LEAST.python} or later; install a newer one or uv, or name an environment of yours: dftune torch setup --python PATH`,
      )
    }
    await act("python3", ["-m", "venv", folder], signal)
    await act(
      made,
      ["-m", "pip", "install", "--disable-pip-version-check", "-r", requirements],
      signal,
    )
  }
  return checkPython(made)
}

async function act(command: string, args: readonly string[], signal?: AbortSignal): Promise<void> {
  // The installer's own progress is for people: it goes to stderr.
  const options: SpawnOptions = { stdio: ["ignore", 2, 2], ...(signal ? { signal } : {}) }
  const child = spawn(command, args, options)
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on("error", (error) =>
      reject(
        new InputError(
          `${command}: ${error.message}; install Python ${LEAST.python} or later, or uv`,
        ),
      ),
    )
    child.on("close", resolve)
  })
  if (code !== 0) {
    throw new InputError(
      `${command} ${args.slice(0, 3).join(" ")} ended with code ${code}, its output is above; it needs a network or an index of packages (PIP_INDEX_URL, UV_INDEX_URL), or name an environment of yours: dftune torch setup --python PATH`,
    )
  }
}
