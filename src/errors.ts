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
