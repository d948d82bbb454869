import { existsSync } from "node:fs"
import { type Browser, chromium } from "playwright-core"

/** Where Debian, and others, put it; DFTUNE_CHROMIUM names another. */
const PLACES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]

export const CHROMIUM = [process.env.DFTUNE_CHROMIUM ?? "", ...PLACES].find(
  (path) => path !== "" && existsSync(path),
)
if (!CHROMIUM) {
  console.warn(
    `NOT TESTED in a browser: none of ${PLACES.join(", ")} is there (apt-get install chromium, or set DFTUNE_CHROMIUM)`,
  )
}

/** WebGPU in software. */
const GPU = [
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
  "--enable-features=Vulkan",
]

export function launch({ gpu = false } = {}): Promise<Browser> {
  return chromium.launch({
    executablePath: CHROMIUM!,
    args: ["--no-sandbox", ...(gpu ? GPU : [])],
  })
}
