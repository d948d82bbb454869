import { spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { buildCheck, buildLibrary, PLATFORMS, ZIG_VERSION, zigCommand } from "../../native/build.ts"

const zig = zigCommand()
if (!zig) console.warn(`NOT TESTED: the library's build: no zig ${ZIG_VERSION} here`)
const folder = mkdtempSync(join(tmpdir(), "dftune-native-test-"))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const MINUTES = 60_000
const here = `${process.platform}-${process.arch}`

test.skipIf(!zig).for(Object.entries(PLATFORMS))(
  "the sources build to the bytes in the package: %s",
  { timeout: 10 * MINUTES }, // the first time zig builds the C library for a platform too
  ([name, { file }]) => {
    const built = join(folder, name, file)
    buildLibrary(zig!, name, built)
    const committed = readFileSync(`native/prebuilt/${name}/${file}`)
    expect(readFileSync(built).equals(committed), "run npx tsx native/build.ts").toBe(true)
  },
)

test.skipIf(!zig || here !== "linux-x64").for([false, true])(
  "every kernel against plain sums (AMX on emulated tiles: %s)",
  { timeout: 5 * MINUTES },
  (emulated) => {
    const program = join(folder, `check-${emulated}`)
    buildCheck(zig!, here, program, { emulated })
    const { status, stdout } = spawnSync(program, { encoding: "utf8" })
    expect(stdout.replaceAll(/^\w+ checked\n/gm, "")).toBe("")
    expect(status).toBe(0)
  },
)
