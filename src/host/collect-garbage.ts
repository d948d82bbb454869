import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"

let collect: (() => void) | undefined

/** Lets go of arrays that nothing needs any more now, before others of their size are made. */
export function collectGarbage(): void {
  if (collect === undefined) {
    setFlagsFromString("--expose-gc")
    const found: unknown = runInNewContext("typeof gc === 'function' ? gc : undefined")
    setFlagsFromString("--no-expose-gc")
    collect = typeof found === "function" ? () => void found() : () => {}
  }
  collect()
}
