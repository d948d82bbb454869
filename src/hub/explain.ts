import { HubApiError } from "@huggingface/hub"
import { InputError } from "../errors.ts"
import { shownEndpoint } from "./requests.ts"

export interface Repo {
  readonly type: "model" | "dataset"
  readonly name: string
}

/** What went wrong with the hub, as the user can mend it; anything else as it came. */
export function explain(error: unknown, { name, type }: Repo, revision: string): unknown {
  if (error instanceof InputError) return error
  const page = `${shownEndpoint()}/${type === "dataset" ? "datasets/" : ""}${name}`
  if (error instanceof HubApiError) {
    if (error.statusCode === 401 || error.statusCode === 403) {
      return new InputError(
        `${name}: the hub refuses access (${error.statusCode}): it is gated, private, or does not exist. ` +
          `Accept its terms at ${page} and set HF_TOKEN`,
      )
    }
    if (error.statusCode === 404) {
      return new InputError(
        `${name}: not found on ${shownEndpoint()} (revision "${revision}"); check the name, or give a local folder`,
      )
    }
    return new InputError(`${name}: the hub answered ${error.statusCode}: ${error.message}`)
  }
  const { name: kind, message, cause } = error as Error
  if (kind === "AbortError") return error
  if (kind === "TimeoutError") {
    return new InputError(`${name}: ${shownEndpoint()}: ${message}; try again later`)
  }
  if (error instanceof SyntaxError || kind === "InvalidApiResponseFormatError") {
    return new InputError(
      `${name}: ${shownEndpoint()} does not answer as the hub does (${message.slice(0, 200)}); is a proxy or a login page in between?`,
    )
  }
  if (error instanceof TypeError && message.startsWith("Your access token")) {
    return new InputError(`HF_TOKEN: ${message}`)
  }
  if (error instanceof TypeError) {
    const why = cause instanceof Error ? cause.message : message
    // a name without its owner is more often a folder that is not there
    const local = name.includes("/") ? "" : "no such folder here, and the hub cannot be asked: "
    return new InputError(
      `${name}: ${local}cannot reach ${shownEndpoint()} (${why}); a partial download is kept and continued. ` +
        "Without a network, give a local folder or set HF_HUB_OFFLINE=1 to use the cache",
    )
  }
  return error
}
