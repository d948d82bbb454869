/**
 * A function whose module is loaded when it is called first, so that importing the package costs
 * only what is used of it. It rejects as the function does.
 */
export function later<F extends (...args: never[]) => Promise<unknown>>(load: () => Promise<F>): F {
  const loaded = async (...args: Parameters<F>) => (await load())(...args)
  return loaded as F
}
