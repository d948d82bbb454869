/** A model of a study, opened when it is first asked. */
import type { Config } from "../config/index.ts"
import { evaluateSuite, openSuite } from "../evaluate/index.ts"
import { openScoredModel } from "../evaluate/scored-model.ts"
import {
  askingOf,
  localModelOrigin,
  modelFolders,
  modelPrecision,
  openGenerator,
} from "../generate/index.ts"
import type { Decoding, Evaluation } from "./study-schema.ts"

/** An evaluation, whatever it is decoded by. */
export type Asked = Omit<Evaluation, "decodings">

interface AskedModelOptions {
  /** What the records call it. */
  readonly called: string
  readonly engine: Config["engine"]
  readonly signal: AbortSignal
}

interface AskOptions {
  readonly decoding: Decoding
  /** Of the samples. */
  readonly seed: number
  /** Gets the samples and their grades; what is there is not asked again. */
  readonly folder: string
}

export interface AskedModel {
  ask(questions: Asked, options: AskOptions): Promise<void>
  close(): Promise<void>
}

/** @throws InputError for a model that cannot be read */
export async function askedModel(
  model: string,
  { called, engine, signal }: AskedModelOptions,
): Promise<AskedModel> {
  const layout = await askingOf(model, { signal })
  const folders = await modelFolders(model, { signal })
  const origin = localModelOrigin(model, folders, await modelPrecision(folders))
  const threads = engine.name === "onnx" ? engine.threads : "auto"
  let opened: ReturnType<typeof openGenerator> | undefined
  const openSource = async () => {
    opened ??= openGenerator(model, { signal, ...(threads === "auto" ? {} : { threads }) })
    return { source: await opened, release: async () => {} }
  }
  const openScored = () =>
    openScoredModel(model, { signal, ...(threads === "auto" ? {} : { threads }) })
  return {
    async ask({ name, suite, suite_dir, limit, ...asked }, { decoding, seed, folder }) {
      const { problems, judge } = await openSuite(suite, { folder: suite_dir, limit })
      const greedy = decoding === "greedy"
      const settings = {
        n: greedy ? 1 : asked.n,
        temperature: greedy ? 0 : decoding,
        maxNewTokens: asked.max_new_tokens,
        seed,
        prompt: asked.prompt,
        mode: asked.mode,
        stop: asked.stop,
      }
      const shared = {
        openSource,
        model: called,
        openScored,
        origin,
        problems,
        judge,
        settings,
        layout,
        signal,
      }
      await evaluateSuite({ ...shared, suite: name, folder })
    },
    async close() {
      if (opened) await (await opened).close()
    },
  }
}
