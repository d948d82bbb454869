/** `dftune serve`: the server of a folder of runs, as programs and the command line start it. */
import { InputError } from "../errors.ts"
import { modelFolders, type OpenModelOptions } from "../generate/open-model.ts"
import { statOf } from "../host/stat.ts"
import type { Told } from "../host/told.ts"
import { endpoint } from "../hub/requests.ts"
import { type Serving, serve } from "./server.ts"

export interface ServeFolderOptions
  extends Omit<Told, "onWarning">,
    Pick<OpenModelOptions, "device" | "dtype" | "threads"> {
  /** Of 127.0.0.1; 0, and left out: any that is free. */
  readonly port?: number | undefined
  /** Folders, runs or hub ids to answer for, beside the folder's runs. */
  readonly models?: readonly string[] | undefined
  /** Change no run and write no file. */
  readonly readOnly?: boolean | undefined
  /** Programs and modules that a run started from the page may name. */
  readonly allowCode?: readonly string[] | undefined
  /** Servers that such a run may ask or download from. */
  readonly allowHost?: readonly string[] | undefined
}

/**
 * Serves the page and the API of a folder of runs, on this machine alone. Aborting `signal` while
 * models are looked for ends that; a server that listens is ended by its `close`.
 *
 * @throws InputError for a folder, model or port that cannot be had
 */
export async function serveFolder(
  dir: string,
  options: ServeFolderOptions = {},
): Promise<Omit<Serving, "lanes">> {
  if (!statOf(dir)?.isDirectory()) {
    throw new InputError(`${dir}: expected a folder of runs, or a run`)
  }
  const { port = 0, models = [], readOnly = false, allowCode = [], allowHost = [] } = options
  if (!Number.isInteger(port) || port < 0 || port > 65535) {
    throw new InputError(`port: expected a whole number from 0 to 65535, got ${port}`)
  }
  const { signal, onProgress, onNotice, device, dtype, threads } = options
  const told = { ...(signal ? { signal } : {}), ...(onProgress ? { onProgress } : {}) }
  for (const model of models) await modelFolders(model, told)
  const serving = await serve({
    dir,
    port,
    models,
    readOnly,
    open: {
      ...(device === undefined ? {} : { device }),
      ...(dtype === undefined ? {} : { dtype }),
      ...(threads === undefined ? {} : { threads }),
    },
    say: (text) => onNotice?.(text),
    jobEnv: jobEnv(allowHost),
    allowed: { code: allowCode, hosts: allowHost },
  })
  const { url, port: found, token } = serving
  return { url, port: found, token, close: () => serving.close() }
}

/** Of the runs that the page starts: a hub id is downloaded only from a host that was allowed. */
function jobEnv(hosts: readonly string[]): NodeJS.ProcessEnv {
  const env = { ...process.env }
  const hub = URL.canParse(endpoint()) ? new URL(endpoint()).host : endpoint()
  if (!hosts.includes(hub)) env.HF_HUB_OFFLINE = "1"
  return env
}
