// Builds the library of native/src for every platform that has one, to the same bytes each time.
//
//   npx tsx native/build.ts [FOLDER]  all platforms, into native/prebuilt or FOLDER
//
// Needs zig's C compiler, of exactly this version: `pip install ziglang==0.17.1`, or ZIG=/path/to/zig.
import { spawnSync } from "node:child_process"
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join, resolve } from "node:path"
import { fileURLToPath } from "node:url"

export const ZIG_VERSION = "0.17.1"
const root = dirname(fileURLToPath(import.meta.url))

const SHARED = ["product.c", "choose.c", "operators.c", "adamw.c", "adamw-8bit.c"]
const FLAGS = [
  "-O3",
  "-g0",
  "-ffp-contract=off",
  "-fno-math-errno",
  "-fvisibility=hidden",
  "-Wall",
  "-Wextra",
  "-Werror",
]
const QUIET = ["-Wno-missing-field-initializers"]
const FUSED = "-ffp-contract=fast" // a multiplication and the addition after it are one instruction

interface Processors {
  /** What all but the kernels may use. */
  readonly baseline: string
  readonly kernels: Readonly<Record<string, readonly string[]>>
}

interface Platform extends Processors {
  readonly target: string
  readonly file: string
}

/** A file is compiled for the processor that its kernels are for; `choose.c` decides at run time. */
const X64: Processors = {
  baseline: "x86_64",
  kernels: {
    "kernel-avx512-bf16.c": ["-mcpu=znver4"],
    "kernel-amx-bf16.c": ["-mcpu=sapphirerapids"],
    "kernel-avx512-f32.c": ["-mcpu=skylake_avx512", FUSED],
    "kernel-avx2-f32.c": ["-mcpu=haswell", FUSED],
  },
}
const ARM64: Processors = {
  baseline: "generic",
  kernels: { "kernel-bfmmla.c": ["-mcpu=generic+bf16"] },
}

/** By Node's names of platform and processor. */
export const PLATFORMS: Readonly<Record<string, Platform>> = {
  "linux-x64": { target: "x86_64-linux-gnu.2.17", file: "dftune.so", ...X64 },
  "linux-arm64": { target: "aarch64-linux-gnu.2.17", file: "dftune.so", ...ARM64 },
  "win32-x64": { target: "x86_64-windows-gnu", file: "dftune.dll", ...X64 },
}

/** The command that is zig, or undefined where there is none of the version. */
export function zigCommand(): readonly string[] | undefined {
  const candidates: string[][] = process.env.ZIG
    ? [[process.env.ZIG]]
    : [["zig"], ["python3", "-m", "ziglang"], ["python", "-m", "ziglang"]]
  return candidates.find(([program, ...args]) => {
    const { stdout } = spawnSync(program!, [...args, "version"], { encoding: "utf8" })
    return stdout?.trim() === ZIG_VERSION
  })
}

type Compiler = (args: readonly string[]) => void

function compiler(zig: readonly string[]): Compiler {
  return (args) => {
    const [program, ...first] = zig
    const { status, stderr, error } = spawnSync(program!, [...first, "cc", ...args], {
      cwd: join(root, "src"), // names of files enter the objects as they are given here
      encoding: "utf8",
    })
    if (error) throw error
    if (status !== 0) throw new Error(`zig cc ${args.join(" ")}\n${stderr}`)
  }
}

function objects(
  cc: Compiler,
  { target, baseline, kernels }: Platform,
  folder: string,
  extra: readonly string[] = [],
): string[] {
  const sources: (readonly [name: string, flags: readonly string[]])[] = [
    ...SHARED.map((name) => [name, [`-mcpu=${baseline}`]] as const),
    ...Object.entries(kernels),
  ]
  return sources.map(([name, flags]) => {
    const object = join(folder, name.replace(/\.c$/, ".o"))
    const pic = target.includes("windows") ? [] : ["-fPIC"]
    cc([
      "-target",
      target,
      ...FLAGS,
      ...QUIET,
      ...pic,
      ...extra,
      ...flags,
      "-c",
      name,
      "-o",
      object,
    ])
    return object
  })
}

/** The header of a DLL holds the time of its making (PE format, COFF file header, TimeDateStamp). */
function forgetTime(file: string): void {
  const bytes = readFileSync(file)
  bytes.writeUInt32LE(0, bytes.readUInt32LE(0x3c) + 8)
  writeFileSync(file, bytes)
}

/** Builds the library of one platform as `output`. */
export function buildLibrary(zig: readonly string[], name: string, output: string): void {
  const platform = PLATFORMS[name]!
  const cc = compiler(zig)
  const scratch = mkdtempSync(join(tmpdir(), "dftune-native-"))
  try {
    const { target } = platform
    const made = objects(cc, platform, scratch)
    const isElf = target.includes("linux")
    const steady = isElf ? ["-Wl,--build-id=none", "-Wl,-soname,dftune.so"] : []
    // An import library comes beside a DLL: it stays in the scratch folder.
    const library = join(scratch, platform.file)
    cc(["-target", target, "-shared", "-s", ...steady, ...made, "-o", library])
    mkdirSync(dirname(output), { recursive: true })
    if (!isElf) forgetTime(library)
    copyFileSync(library, output)
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

/** Builds check/check.c for a platform (statically on Linux); `emulated` runs AMX in plain C. */
export function buildCheck(
  zig: readonly string[],
  name: string,
  output: string,
  { emulated = false } = {},
): void {
  const platform = PLATFORMS[name]!
  const cc = compiler(zig)
  const scratch = mkdtempSync(join(tmpdir(), "dftune-check-"))
  try {
    const target = platform.target.replace(/-gnu.*/, "-musl")
    const slices = "-DPACKED_AT_ONCE=65536" // so that small products too are packed in several
    const extra = emulated ? [slices, "-DEMULATED_TILES"] : [slices]
    const made = objects(cc, { ...platform, target }, scratch, extra)
    const needed = made.filter((name) => !name.endsWith("operators.o"))
    cc(["-target", target, "-O2", ...extra, "-static", "../check/check.c", ...needed, "-o", output])
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const zig = zigCommand()
  if (!zig) {
    console.error(`zig ${ZIG_VERSION} is needed: pip install ziglang==${ZIG_VERSION}`)
    process.exit(2)
  }
  const folder = resolve(process.argv[2] ?? join(root, "prebuilt"))
  for (const [platform, { file }] of Object.entries(PLATFORMS)) {
    buildLibrary(zig, platform, join(folder, platform, file))
    console.error(join(folder, platform, file))
  }
}
