/** Execution providers of ONNX Runtime that come as a library of their own ("plug-in EPs"). */
import { basename, resolve } from "node:path"
import { InputError } from "../../errors.ts"
import { statOf } from "../../host/stat.ts"
import type { LibraryDevice } from "../device.ts"
import { environment } from "./native-session.ts"
import { keyValuePairs, type Pointer } from "./ort-api.ts"

/** A provider on a piece of hardware, as ONNX Runtime offers it. */
export interface PluginDevice {
  readonly pointer: Pointer
  /** The library's absolute path. */
  readonly library: string
  /** The provider's name for itself. */
  readonly name: string
  readonly kind: string
  readonly vendor: string
  /** What it says about itself: its version and the like. */
  readonly metadata: Readonly<Record<string, string>>
}

const HARDWARE = ["CPU", "GPU", "NPU"] as const

function offered(): PluginDevice[] {
  const { api, env } = environment()
  return api.list("GetEpDevices", env).map((pointer) => {
    const hardware = api.value<Pointer>("EpDevice_Device", pointer)
    const metadata = keyValuePairs(api, api.value<Pointer>("EpDevice_EpMetadata", pointer))
    return {
      pointer,
      library: metadata.library_path ?? "",
      name: api.value<string>("EpDevice_EpName", pointer),
      kind: HARDWARE[api.value<number>("HardwareDevice_Type", hardware)] ?? "other hardware",
      vendor: api.value<string | null>("HardwareDevice_Vendor", hardware) ?? "",
      metadata,
    }
  })
}

export const nameOf = ({ name, kind, vendor, metadata }: PluginDevice): string => {
  const version = metadata.version ? ` ${metadata.version}` : ""
  return `${name}${version} on a ${kind}${vendor ? ` of ${vendor}` : ""}`
}

const KEY = "engine.device.library"

/**
 * Loads the library and takes the device of it that is meant. The library is this program's from
 * then on: it is never unloaded.
 *
 * @throws InputError where there is no such file, it is no provider, or it offers no device here
 */
export function pluginDevice({ library, name }: LibraryDevice): PluginDevice {
  const path = resolve(library)
  if (!statOf(path)?.isFile()) {
    throw new InputError(`${KEY}: ${path}: there is no such file`)
  }
  const here = offered()
  const ofLibrary = () => offered().filter((each) => each.library === path)
  if (ofLibrary().length === 0) register(path)
  const devices = ofLibrary()
  if (devices.length === 0) {
    const known = here.map(({ kind, vendor }) => `a ${kind} of ${vendor}`).join(", ")
    throw new InputError(
      `${KEY}: ${path} offers no device on this machine; ONNX Runtime sees ${known}. The library may be for other hardware, or its driver may be missing.`,
    )
  }
  const asked = name?.toLowerCase()
  const meant = devices.filter((each) =>
    [each.name, each.kind].some((word) => asked === undefined || word.toLowerCase() === asked),
  )
  if (meant.length === 1) return meant[0]!
  const list = devices.map(nameOf).join("; ")
  throw new InputError(
    `engine.device.name: ${meant.length === 0 ? `${path} offers no ${name}` : `${path} offers several devices`}: ${list}. Write the provider's name, CPU, GPU or NPU.`,
  )
}

function register(path: string): void {
  const { api, env } = environment()
  // Some providers take the name they are registered under for their own.
  const name = basename(path)
    .replace(/^lib/, "")
    .replace(/\.(so|dll|dylib)[.\d]*$/, "")
  try {
    api.check("RegisterExecutionProviderLibrary", env, name, path)
  } catch (error) {
    // By another thread of this program, or earlier, without a device.
    if (error instanceof Error && error.message.includes("already registered")) return
    throw new InputError(
      `${KEY}: ${path} cannot be loaded as an execution provider of ONNX Runtime ${api.version}: ${(error as Error).message}`,
    )
  }
}
