/** What the demo's numbers say, in sentences that follow from them. */
import { type DemoResult, dftMinusSft, findScore, type Score } from "./experiment.ts"

const points = (share: number): string => `${Math.abs(100 * share).toFixed(0)} points`

export function demoConclusions(result: DemoResult): string[] {
  const { scores } = result
  const noisy = { task: "noisy", set: "as trained" } as const
  return [
    compared(
      scores,
      { ...noisy, temperature: 1 },
      "Sampled at temperature 1, on new problems of the trained kind",
    ),
    compared(scores, { ...noisy, temperature: 0 }, "Decoded greedily, on the same problems"),
    sharpening(scores),
    compared(
      scores,
      { task: "noisy", set: "longer", temperature: 0 },
      "What it costs: on problems with one step more than was trained (greedy)",
    ),
    compared(
      scores,
      { task: "facts", set: "new codes", temperature: 0 },
      "On the new codes that were trained (greedy)",
    ),
  ]
}

function compared(
  scores: readonly Score[],
  where: Pick<Score, "task" | "set" | "temperature">,
  opening: string,
): string {
  const { difference, ci95, exceedsNoise } = dftMinusSft(scores, where)
  const of = (model: Score["model"]) => {
    const score = findScore(scores, { ...where, model })
    return `${(100 * (score?.score ?? Number.NaN)).toFixed(0)} %`
  }
  const range = `[${(100 * ci95[0]).toFixed(0)}, ${(100 * ci95[1]).toFixed(0)}]`
  const verdict = !exceedsNoise
    ? `no difference beyond noise (${range} points)`
    : `DFT is ${points(difference)} ${difference > 0 ? "better" : "worse"} (${range})`
  return `${opening}: base ${of("base")}, SFT ${of("sft")}, DFT ${of("dft")}; ${verdict}.`
}

function sharpening(scores: readonly Score[]): string {
  const at = (model: Score["model"], temperature: Score["temperature"]) =>
    findScore(scores, { task: "noisy", set: "as trained", model, temperature })?.score ?? Number.NaN
  const [base, sharp, dft] = [at("base", 1), at("base", 0.5), at("dft", 1)]
  const opening = `The base itself, not fine-tuned but sampled at temperature 0.5, gets ${(100 * sharp).toFixed(0)} %`
  if (!(dft > base)) return `${opening}.`
  if (sharp >= dft) return `${opening}: no less than DFT at temperature 1, without any fine-tuning.`
  const share = (100 * (sharp - base)) / (dft - base)
  return `${opening}: ${share.toFixed(0)} % of what DFT gains over the base at temperature 1 needs no fine-tuning.`
}
