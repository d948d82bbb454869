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

/** What a page may take on a machine that runs other tests beside it, ms. */
const PATIENCE = 100_000

export async function launch({ gpu = false } = {}): Promise<Browser> {
  const browser = await chromium.launch({
    executablePath: CHROMIUM!,
    args: ["--no-sandbox", ...(gpu ? GPU : [])],
  })
  browser.on("context", (context) => context.setDefaultTimeout(PATIENCE))
  return browser
}
