import { spawn } from "node:child_process"
import { ownCommand } from "../../src/host/own-command.ts"

export interface Served {
  readonly url: string
  readonly origin: string
  /** The API key. */
  readonly token: string
  readonly pid: number
}

/** A `dftune serve` of its own process for as long as `work` takes. */
export async function withServer<T>(
  args: readonly string[],
  work: (server: Served) => Promise<T>,
): Promise<T> {
  const [program, own] = ownCommand("serve", ...args, "--port", "0", "--no-open")
  const server = spawn(program, own, { stdio: ["ignore", "pipe", "inherit"] })
  const ended = new Promise((end) => server.once("exit", end))
  try {
    const url = await new Promise<string>((told, failed) => {
      server.stdout.setEncoding("utf8").once("data", (text: string) => told(text.split("\n")[0]!))
      ended.then(() => failed(new Error("dftune serve ended before it told its URL")))
    })
    const { origin, hash } = new URL(url)
    return await work({ url, origin, token: hash.slice("#token=".length), pid: server.pid! })
  } finally {
    server.kill("SIGINT")
    await ended
  }
}
