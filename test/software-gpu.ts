import { existsSync } from "node:fs"

const CHROMIUM = "/usr/lib/chromium"

/**
 * Gives the test processes a GPU in software where the machine has none: SwiftShader and a Vulkan
 * loader come with Debian's chromium. The loader's path counts only before a process starts.
 */
export function setup(): void {
  const hasGpu = existsSync("/dev/dri/renderD128") || existsSync("/dev/nvidia0")
  const driver = `${CHROMIUM}/vk_swiftshader_icd.json`
  if (hasGpu || process.env.VK_ICD_FILENAMES || !existsSync(driver)) return
  process.env.VK_ICD_FILENAMES = driver
  process.env.LD_LIBRARY_PATH = [CHROMIUM, process.env.LD_LIBRARY_PATH].filter(Boolean).join(":")
}
