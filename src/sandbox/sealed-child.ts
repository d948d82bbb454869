/**
 * One JavaScript program in a process of its own, without rights; killed with its group in time.
 */
import { spawn } from "node:child_process"
import { realpathSync } from "node:fs"
import { createRequire } from "node:module"
import { dirname } from "node:path"
import { killGroup } from "../host/process-group.ts"
import { CHILD_SOURCE } from "./child-source.ts"

export interface SandboxLimits {
  /** Of the whole program with all its calls, the process's start among them. */
  readonly seconds: number
  /** Megabytes that the program may take. */
  readonly megabytes: number
}

/** A function's source, and its one argument as JSON: the list of what it is called with. */
export interface SealedCall {
  readonly code: string
  readonly args: string
}

export type CallResult = { readonly value: unknown } | { readonly problem: string }
export type ProgramReply =
  | { readonly results: readonly CallResult[] }
  | { readonly problem: string }

const RESULT_CHARACTERS = 1e6
const REPLY_CHARACTERS = 1.6e7

/** Node 23.5 made the permission model stable and renamed its flag. */
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number)
export const PERMISSION =
  major > 23 || (major === 23 && minor >= 5) ? "--permission" : "--experimental-permission"

/** The interpreter's file, and the folder of packages that the child may read. */
function interpreter() {
  const packageFile = realpathSync(createRequire(import.meta.url).resolve("quickjs-emscripten"))
  const marker = packageFile.lastIndexOf("node_modules")
  const readable =
    marker < 0 ? dirname(packageFile) : packageFile.slice(0, marker + "node_modules".length)
  return { packageFile, readable }
}

/**
 * Runs `program`, then each of `calls`; a program that fails or is stopped is a problem.
 *
 * @throws the signal's reason when it is aborted, the process killed
 */
export function runSealed(
  program: string,
  calls: readonly SealedCall[],
  { seconds, megabytes }: SandboxLimits,
  signal?: AbortSignal,
): Promise<ProgramReply> {
  signal?.throwIfAborted()
  const { packageFile, readable } = interpreter()
  const limits = {
    seconds,
    memoryPages: Math.max(256, megabytes * 16),
    resultCharacters: RESULT_CHARACTERS,
    replyCharacters: REPLY_CHARACTERS,
  }
  const flags = ["--disallow-code-generation-from-strings", "--no-warnings", PERMISSION]
  const child = spawn(
    process.execPath,
    [...flags, `--allow-fs-read=${readable}/*`, "--eval", CHILD_SOURCE],
    { env: {}, stdio: ["pipe", "pipe", "ignore"], detached: true, cwd: readable },
  )
  return new Promise((resolve, reject) => {
    let text = ""
    let late = false
    const kill = () => killGroup(child)
    const timer = setTimeout(() => {
      late = true
      kill()
    }, seconds * 1000)
    signal?.addEventListener("abort", kill, { once: true })
    const ended = () => {
      clearTimeout(timer)
      signal?.removeEventListener("abort", kill)
    }
    child.once("error", (error) => {
      ended()
      reject(error)
    })
    child.stdin.on("error", () => {})
    child.stdout.setEncoding("utf8").on("data", (part: string) => {
      text += part
      if (text.length > REPLY_CHARACTERS) kill()
    })
    child.once("close", () => {
      ended()
      if (signal?.aborted) return reject(signal.reason)
      if (late) return resolve({ problem: `took longer than ${seconds} seconds` })
      try {
        resolve(JSON.parse(text) as ProgramReply)
      } catch {
        resolve({ problem: "the process ended without a reply" })
      }
    })
    child.stdin.end(JSON.stringify({ packageFile, program, calls, limits }))
  })
}
