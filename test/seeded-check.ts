/**
 * fast-check with a seed of its own: a run of the tests says the same each time. Another seed looks
 * elsewhere: `FC_SEED=7 npx vitest run`.
 */
import fc from "fast-check"

fc.configureGlobal({ seed: Number(process.env.FC_SEED ?? 20261130) })

export { fc }
