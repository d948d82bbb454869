/** A server that a study starts for each model, to ask it faster than this process can. */
import { type ChildProcess, spawn } from "node:child_process"
import { closeSync, openSync } from "node:fs"
import { createServer } from "node:net"
import { setTimeout } from "node:timers/promises"
import { InputError } from "../errors.ts"
import { EndpointSource } from "../generate/index.ts"
import { ownPlace } from "../host/own-place.ts"
import { killGroup } from "../host/process-group.ts"
import type { ServerFields } from "./study-schema.ts"

export interface ModelServer {
  readonly source: EndpointSource
  close(): Promise<void>
}

interface ServedModel {
  readonly model: string
  /** What an adapter lies on; the model itself without one. */
  readonly base: string
  /** Gets server.log. */
  readonly folder: string
}

const POLL_MS = 500

/**
 * Starts `server.command` and waits until it lists its models.
 *
 * @throws InputError where the program ends or says nothing in `ready_seconds`, with its log
 */
export async function startModelServer(
  { command, ready_seconds, concurrency, name }: ServerFields,
  { model, base, folder }: ServedModel,
  signal: AbortSignal,
): Promise<ModelServer> {
  const port = await freePort()
  const places: Readonly<Record<string, string>> = { model, base, port: String(port) }
  const [program, ...args] = command.map((word) =>
    word.replaceAll(/\{(model|base|port)\}/g, (_, place: string) => places[place]!),
  )
  const log = ownPlace(folder, "server.log")
  const output = openSync(log, "a")
  const child = spawn(program!, args, { stdio: ["ignore", output, output], detached: true })
  closeSync(output)
  const url = `http://127.0.0.1:${port}/v1`
  const ended = endOf(child)
  const close = () => stopped(child, ended)
  try {
    await ready({ url, ended, seconds: ready_seconds, signal, log, command: command.join(" ") })
  } catch (error) {
    await close()
    throw error
  }
  return { source: new EndpointSource({ url, model: name, concurrency }), close }
}

interface Waiting {
  readonly url: string
  /** In words, once the program has ended. */
  readonly ended: Promise<string>
  readonly seconds: number
  readonly signal: AbortSignal
  readonly log: string
  readonly command: string
}

async function ready({ url, ended, seconds, signal, log, command }: Waiting): Promise<void> {
  let end: string | undefined
  void ended.then((words) => {
    end = words
  })
  const deadline = performance.now() + seconds * 1000
  for (;;) {
    signal.throwIfAborted()
    if (end !== undefined)
      throw new InputError(`server.command: ${command} ${end}; its output is in ${log}`)
    const answered = await fetch(`${url}/models`, {
      signal: AbortSignal.any([signal, AbortSignal.timeout(5000)]),
    })
      .then(({ ok }) => ok)
      .catch(() => false)
    if (answered) return
    if (performance.now() > deadline) {
      throw new InputError(
        `server.command: ${command} did not answer ${url}/models in ${seconds} s (server.ready_seconds); its output is in ${log}`,
      )
    }
    await setTimeout(POLL_MS, undefined, { signal }).catch(() => {})
  }
}

function endOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once("error", ({ message }) => resolve(`could not be started (${message})`))
    child.once("exit", (code, killed) => resolve(`ended with ${killed ?? `code ${code}`}`))
  })
}

/** Asks the program and those it started to end, and makes them after ten seconds. */
async function stopped(child: ChildProcess, ended: Promise<string>): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null) return
  killGroup(child, "SIGTERM")
  const late = setTimeout(10_000, "late", { ref: false })
  if ((await Promise.race([ended, late])) === "late") killGroup(child)
  await ended
}

/** One that nobody listened on a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const address = server.address() as { readonly port: number }
  await new Promise((resolve) => server.close(resolve))
  return address.port
}
