/**
 * Something the user can fix: a config, a file, a flag. Printed without a stack, exit code 2.
 * The message says where (file:line, key, tensor), what was expected, what came, and what to do.
 */
export class InputError extends Error {
  override readonly name = "InputError"
}

/** We are wrong, not the user. Printed with a stack. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`assertion failed: ${message}`)
}

/** What ended the work, where it failed. */
export interface Failure {
  readonly error: unknown
}

/**
 * Takes every step of cleaning up, also after one that fails. What ended the work stays the error
 * that is thrown: what cleaning up says is a line more in its message.
 *
 * @throws the first failure of cleaning up, where the work itself did not fail
 */
export async function cleanUp(
  steps: readonly (() => unknown)[],
  failure: Failure | undefined,
): Promise<void> {
  let first = failure
  for (const step of steps) {
    try {
      await step()
    } catch (error) {
      if (first === undefined) first = { error }
      else addLine(first.error, `cleaning up failed too: ${messageOf(error)}`)
    }
  }
  if (failure === undefined && first !== undefined) throw first.error
}

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error))

function addLine(error: unknown, line: string): void {
  if (!(error instanceof Error)) return
  // an abort's message is a getter of its class
  const message = `${error.message}\n${line}`
  Object.defineProperty(error, "message", { value: message, configurable: true, writable: true })
}
