/** What this machine can run. */
import { fork, spawnSync } from "node:child_process"
import { mkdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from "node:fs"
import { arch, availableParallelism, cpus, freemem, platform, release, totalmem } from "node:os"
import { join } from "node:path"
import { choosePython, describePython, managedPython } from "../engines/torch/index.ts"
import { cacheFolder } from "../host/cache-folder.ts"
import { version } from "../host/version.ts"
import { loaderArguments, modulePath } from "../host/worker.ts"
import { ownKernels } from "../runtime/node.ts"

/** One thing that was looked at. */
export interface Finding {
  readonly name: string
  readonly state: "ok" | "absent" | "problem"
  readonly detail: string
}

export interface MachineReport {
  readonly dftune: string
  readonly findings: readonly Finding[]
}

/**
 * Looks at everything that a run depends on. A device is tried in a process of its own: a driver
 * may crash it.
 */
export async function doctor(): Promise<MachineReport> {
  const devices = await Promise.all([tryDevice("cpu"), tryDevice("webgpu")])
  return {
    dftune: version(),
    findings: [
      nodeFinding(),
      { name: "system", state: "ok", detail: `${platform()} ${release()} ${arch()}` },
      cpuFinding(),
      memoryFinding(),
      onnxFinding(),
      ...devices,
      kernelsFinding(),
      gpuFinding(),
      pythonFinding(),
      cacheFinding(),
      hubFinding(),
    ],
  }
}

function nodeFinding(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number)
  const supported = major > 20 || (major === 20 && minor >= 19)
  const detail = `${process.versions.node}${supported ? "" : "; dftune needs 20.19 or later"}`
  return { name: "node", state: supported ? "ok" : "problem", detail }
}

function cpuFinding(): Finding {
  const model = cpus()[0]?.model.trim() ?? "unknown"
  return { name: "cpu", state: "ok", detail: `${model}, ${availableParallelism()} usable cores` }
}

const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`

/** In a container the limit is below what the machine has. */
function memoryLimit(): number {
  const limit = process.constrainedMemory()
  return limit > 0 && limit < totalmem() ? limit : totalmem()
}

function memoryFinding(): Finding {
  const limit = memoryLimit()
  const free = Math.min(freemem(), limit)
  return { name: "memory", state: "ok", detail: `${gigabytes(limit)}, ${gigabytes(free)} free` }
}

function onnxFinding(): Finding {
  const manifest = new URL(
    "package.json",
    new URL(import.meta.resolve("onnxruntime-node")).href.replace(/dist\/.*$/, ""),
  )
  const { version: installed } = JSON.parse(readFileSync(manifest, "utf8")) as { version: string }
  return { name: "onnxruntime", state: "ok", detail: installed }
}

/** What multiplies bfloat16 numbers here. */
function kernelsFinding(): Finding {
  const { bf16, exact, problem } = ownKernels()
  return {
    name: "products",
    state: bf16 === undefined ? "absent" : "ok",
    detail:
      bf16 === undefined
        ? `float32 only: ${problem}`
        : `bfloat16 by ${bf16}; float32 gradients by ${exact ?? "ONNX Runtime"}`,
  }
}

const PROBE_MS = 30_000

/** Opens the device and computes 1 + 2 on it. */
function tryDevice(device: "cpu" | "webgpu"): Promise<Finding> {
  return new Promise((done) => {
    const child = fork(modulePath(new URL("./device-probe.ts", import.meta.url)), [device], {
      stdio: ["ignore", "ignore", "pipe", "ipc"],
      execArgv: loaderArguments(),
      timeout: PROBE_MS,
    })
    let answer: { readonly ok: boolean; readonly detail: string } | undefined
    child.on("message", (message) => {
      answer = message as { ok: boolean; detail: string }
    })
    child.on("exit", (code, signal) => {
      const broken = device === "cpu" ? "problem" : "absent"
      done({
        name: `device ${device}`,
        state: answer?.ok ? "ok" : broken,
        detail:
          answer?.detail.replaceAll("\n", " ") ??
          `the probe ended with ${signal ?? `exit code ${code}`}`,
      })
    })
  })
}

/** What a program prints, or undefined when it is not there or fails. */
function output(program: string, args: readonly string[]): string | undefined {
  const { status, stdout } = spawnSync(program, args, { encoding: "utf8", timeout: PROBE_MS })
  return status === 0 ? stdout.trim() : undefined
}

function gpuFinding(): Finding {
  const query = ["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
  const found = output("nvidia-smi", query)
  return found === undefined
    ? {
        name: "nvidia gpu",
        state: "absent",
        detail: "none found (only engine: torch uses one directly)",
      }
    : { name: "nvidia gpu", state: "ok", detail: found.replaceAll("\n", "; ") }
}

/** The Python that engine: torch would use. */
function pythonFinding(): Finding {
  const name = "python"
  const python = choosePython("python3")
  const found = describePython(python)
  if (found === undefined) {
    return { name, state: "absent", detail: "none that runs (only engine: torch needs it)" }
  }
  const versions = Object.entries(found.versions).map(([part, its]) => `${part} ${its}`)
  const managed = python === managedPython() ? " (dftune torch setup)" : ""
  const lacks =
    found.lacks.length === 0 ? "" : `; engine: torch needs more: ${found.lacks.join(", ")}`
  const state = found.lacks.length === 0 ? "ok" : "absent"
  return { name, state, detail: `${versions.join(", ")}${managed}${lacks}` }
}

function cacheFinding(): Finding {
  const folder = cacheFolder()
  const name = "cache"
  try {
    mkdirSync(folder, { recursive: true })
    const probe = join(folder, `.doctor-${process.pid}`)
    writeFileSync(probe, "")
    rmSync(probe)
    const { bavail, bsize } = statfsSync(folder)
    const from = process.env.DFTUNE_CACHE === undefined ? "default folder" : "DFTUNE_CACHE"
    return { name, state: "ok", detail: `writable (${from}), ${gigabytes(bavail * bsize)} free` }
  } catch (error) {
    return { name, state: "problem", detail: `cannot be written: ${(error as Error).message}` }
  }
}

function hubFinding(): Finding {
  const names = ["HF_ENDPOINT", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN"]
  const set = names.filter((name) => process.env[name])
  return {
    name: "hub",
    state: "ok",
    detail: set.length === 0 ? "no HF_ variables set" : `set: ${set.join(", ")}`,
  }
}
