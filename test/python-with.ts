import { execFileSync } from "node:child_process"

/** The first Python that has all of these modules; DFTUNE_PYTHON is asked first. */
export function pythonWith(...modules: readonly string[]): string | undefined {
  const candidates = [process.env.DFTUNE_PYTHON, "/opt/torch-venv/bin/python", "python3"]
  const names = modules.map((name) => `'${name}'`).join(", ")
  const probe = `import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, (${names},))))`
  return candidates.find((python) => {
    if (python === undefined) return false
    try {
      execFileSync(python, ["-c", probe], { stdio: "ignore", timeout: 60_000 })
      return true
    } catch {
      return false
    }
  })
}
