/** The page's defaults, as a link has them. */
export const LINK = {
  a: "nll",
  b: "sg(p) * nll",
  task: "noisy",
  noise: 0.3,
  learningRate: 0.002,
  rank: 8,
  steps: 60,
  batchSize: 32,
  seed: 1,
  device: "auto",
}
export const encoded = (settings: object) =>
  Buffer.from(JSON.stringify(settings)).toString("base64url")
export const linkTo = (settings: object) => `#s=${encoded({ ...LINK, ...settings })}`
