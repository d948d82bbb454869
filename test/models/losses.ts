import type { HeadSettings } from "../../src/models/decoder/decoder.ts"

/** -log p, and its derivative. */
export const sftSettings: HeadSettings = {
  loss: ({ logp }) => ({ loss: logp.neg(), coefficients: { logp: logp.mul(0).sub(1) } }),
}

/** -sg(p) log p: the weight p is data, so the derivative by log p is -p. */
export const dftSettings: HeadSettings = {
  loss: ({ logp }) => {
    const p = logp.exp()
    return { loss: p.mul(logp).neg(), coefficients: { logp: p.neg() } }
  },
}
