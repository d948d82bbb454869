/** Whether what a run is to be made of is here: told before it waits in the queue. */
import type { Config } from "../config/index.ts"
import { resolveSources } from "../data/sources.ts"
import { InputError } from "../errors.ts"
import { withoutDownloads } from "../hub/offline.ts"
import { findModel } from "../models/files/gguf-model.ts"
import { refusal } from "./refusal.ts"

/**
 * Nothing is downloaded to find it out; what a run may download is left to it.
 *
 * @throws the 400 of a model, or of rows, that are not there
 */
export async function expectInputs(
  { model, data }: Pick<Config, "model" | "data">,
  { downloads }: { readonly downloads: boolean },
): Promise<void> {
  await expectOne("model", model, downloads, () => findModel(model, { withWeights: false }))
  for (const [set, sources] of Object.entries({ train: data.train, eval: data.eval })) {
    for (const [i, source] of sources.entries()) {
      const key = `data.${set}[${i}].path`
      await expectOne(key, source.path, downloads, () => resolveSources([source]))
    }
  }
}

async function expectOne(
  key: string,
  name: string,
  downloads: boolean,
  find: () => Promise<unknown>,
): Promise<void> {
  try {
    await withoutDownloads(find)
  } catch (error) {
    if (!(error instanceof InputError)) throw error
    const isOfHub = error.message.includes("HF_HUB_OFFLINE") // the hub's own words for "not here"
    if (!isOfHub) throw refusal(400, withKey(key, error.message), { param: key })
    if (downloads) return
    throw refusal(
      400,
      `${key}: ${name} is not on this machine, and a run of the page downloads nothing; name a folder or file, or start dftune serve with --allow-host huggingface.co`,
      { param: key },
    )
  }
}

const withKey = (key: string, message: string) =>
  message.startsWith(`${key}: `) ? message : `${key}: ${message}`
