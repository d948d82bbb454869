/**
 * What a run may be started with from the page: no program and no server that its user did not
 * name.
 */
import { resolve } from "node:path"
import { programKeys } from "../config/run-record.ts"
import { isObject } from "../formats/json.ts"
import { refusal } from "./refusal.ts"

export interface Allowed {
  /** Files of `--allow-code`. */
  readonly code: readonly string[]
  /** Host names of `--allow-host`, with their port where it is not the protocol's own. */
  readonly hosts: readonly string[]
}

export const NOTHING_ALLOWED: Allowed = { code: [], hosts: [] }

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/

/**
 * Keys that name a program, and addresses, wherever in a config they stand.
 *
 * @throws the 403 of one that was not allowed when the server started
 */
export function checkStart(config: unknown, { code, hosts }: Allowed): void {
  const files = new Set(code.map((file) => resolve(file)))
  for (const { key, value } of programKeys(config)) {
    if (files.has(resolve(value))) continue
    throw refusal(
      403,
      `${key}: ${JSON.stringify(value)} would run with your rights, and a page may not name it; look at it, then start the server with --allow-code ${value}, or start the run in a terminal`,
      { param: key, code: "program_refused" },
    )
  }
  for (const { key, url } of addresses(config)) {
    if (LOOPBACK.test(url.hostname) || hosts.includes(url.host)) continue
    throw refusal(
      403,
      `${key}: a page may not name the server ${url.host}; start dftune serve with --allow-host ${url.host}, or start the run in a terminal`,
      { param: key, code: "host_refused" },
    )
  }
}

/** Every text that is an address, with the dotted key it stands under. */
function addresses(value: unknown, key = ""): { readonly key: string; readonly url: URL }[] {
  if (typeof value === "string") {
    return /^[a-z][a-z+.-]*:\/\//i.test(value) && URL.canParse(value)
      ? [{ key, url: new URL(value) }]
      : []
  }
  const under = (name: string | number) => (key === "" ? String(name) : `${key}.${name}`)
  if (Array.isArray(value)) return value.flatMap((one, i) => addresses(one, under(i)))
  if (!isObject(value)) return []
  return Object.entries(value).flatMap(([name, one]) => addresses(one, under(name)))
}
