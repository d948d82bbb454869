import { existsSync, readdirSync } from "node:fs"
import { fileURLToPath } from "node:url"

export const MODELS = fileURLToPath(new URL("../../golden/models/", import.meta.url))

const folders = readdirSync(MODELS).filter((name) => !name.includes("."))

/** The golden models with weights of their own. */
export const families = folders.filter((name) => existsSync(`${MODELS}${name}/model.safetensors`))

/** Their adapters, `<model>/<adapter>`. */
export const adapters = families.flatMap((name) =>
  readdirSync(MODELS + name)
    .filter((entry) => entry.startsWith("adapter"))
    .map((entry) => `${name}/${entry}`),
)

/** The golden models that have an adapter named so. */
export const adapted = families.filter((name) => adapters.includes(`${name}/adapter`))
