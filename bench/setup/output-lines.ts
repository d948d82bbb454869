import { spawn } from "node:child_process"

/** Runs a process to its end and returns the lines of its stdout; throws with the end of stderr. */
export async function outputLines(
  command: string,
  args: readonly string[],
  cwd: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<string[]> {
  const child = spawn(command, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"] })
  let out = ""
  let err = ""
  child.stdout.on("data", (part) => {
    out += part
  })
  child.stderr.on("data", (part) => {
    err += part
  })
  const code = await new Promise((resolve) => child.on("close", resolve))
  if (code !== 0) throw new Error(`${command} ${args[0]}: exit ${code}\n${err.slice(-2000)}`)
  return out.split("\n")
}

/** A script of this folder under this Node. */
export function scriptLines(script: string, args: readonly string[]): Promise<string[]> {
  const path = new URL(script, import.meta.url).pathname
  return outputLines(process.execPath, ["--import", "tsx", path, ...args], process.cwd())
}
