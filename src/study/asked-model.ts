/** A model of a study, opened when it is first asked. */
import type { Config } from "../config/index.ts"
import { evaluateSuite, openSuite, suiteProgress } from "../evaluate/index.ts"
import {
  askingOf,
  endpointOrigin,
  localModelOrigin,
  modelFolders,
  modelPrecision,
  openGenerator,
  type SampleSource,
} from "../generate/index.ts"
import { openScoredModel } from "../train/scored-model.ts"
import { startModelServer } from "./model-server.ts"
import type { Decoding, Evaluation, ServerFields } from "./study-schema.ts"

/** An evaluation, whatever it is decoded by. */
export type Asked = Omit<Evaluation, "decodings">

interface AskedModelOptions {
  /** What the records call it. */
  readonly called: string
  readonly engine: Config["engine"]
  /** Where another program samples. */
  readonly server?: ServerFields | undefined
  /** Of what is not a result: the server's log. */
  readonly logs: string
  readonly signal: AbortSignal
  readonly onProgress?: ((line: string) => void) | undefined
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
  { called, engine, server, logs, signal, onProgress }: AskedModelOptions,
): Promise<AskedModel> {
  const layout = await askingOf(model, { signal })
  const folders = await modelFolders(model, { signal })
  const origin = server
    ? endpointOrigin(model, server.command.join(" "))
    : localModelOrigin(model, folders, await modelPrecision(folders))
  const threads = engine.name === "onnx" ? engine.threads : "auto"
  let opened: Promise<{ source: SampleSource; close: () => Promise<void> }> | undefined
  const open = async () => {
    if (server) {
      const { folder, base } = folders
      return startModelServer(server, { model: folder, base: base ?? folder, folder: logs }, signal)
    }
    const source = await openGenerator(model, {
      signal,
      ...(threads === "auto" ? {} : { threads }),
    })
    return { source, close: () => source.close() }
  }
  const openSource = async () => {
    opened ??= open()
    return { source: (await opened).source, release: async () => {} }
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
      const telling = onProgress ? suiteProgress(name, onProgress) : {}
      await evaluateSuite({ ...shared, ...telling, suite: name, folder })
    },
    async close() {
      if (opened) await (await opened).close()
    },
  }
}
