/** The page of a model on the hub, made from what its run recorded. */
import { existsSync, statSync } from "node:fs"
import { basename } from "node:path"
import { stringify } from "yaml"
import type { SuiteResult } from "../evaluate/index.ts"
import { fileHash } from "../formats/file-hash.ts"
import { isObject } from "../formats/json.ts"
import { version } from "../host/version.ts"
import { isHubId } from "../hub/names.ts"
import { definitionOf } from "../objectives/index.ts"
import { courseText, evalText, objectiveName } from "../report/run-figures.ts"
import { type RunSummary, runFigures } from "../report/run-summary.ts"
import { shortCount, shortDuration } from "../report/units.ts"
import { plainValue, withoutPlaces } from "./places.ts"

const MOST_SAMPLES = 4

export interface CardOptions {
  readonly repo: string
  readonly isAdapter: boolean
  /** Of `dftune eval`, with their intervals. */
  readonly evaluations: readonly SuiteResult[]
  readonly withSamples: boolean
}

/** The settings of a run for somebody else's machine: no place of this one is in them. */
export function repeatableConfig({ config }: RunSummary): string {
  const { resume: _, output_dir, ...settings } = config
  const name = typeof output_dir === "string" ? basename(output_dir) : "my-run"
  return stringify({ ...(plainValue(settings) as object), output_dir: `runs/${name}` })
}

export async function modelCard(run: RunSummary, options: CardOptions): Promise<string> {
  const { config } = run
  const base = typeof config.model === "string" ? config.model : undefined
  const baseId = base !== undefined && isHubId(base) && !existsSync(base) ? base : undefined
  const objective = objectiveName(config.objective) ?? "?"
  const head = {
    library_name: options.isAdapter ? "peft" : "transformers",
    pipeline_tag: "text-generation",
    ...(baseId ? { base_model: baseId } : {}),
    tags: ["dftune", objective],
  }
  const parts = [
    `---\n${stringify(head)}---\n\n# ${options.repo.split("/").at(-1)}`,
    `${options.isAdapter ? "An adapter" : "A model"} trained by [dftune](https://www.npmjs.com/package/dftune) ${version()} with the objective \`${objective}\`${base === undefined ? "" : `, from \`${baseId ?? basename(base)}\``}.`,
    objectiveText(config.objective, objective),
    runText(run),
    await dataText(run),
    evaluationText(run, options.evaluations),
    warningText(run),
    ...(options.withSamples ? [sampleText(run)] : []), // as they are
    `## To repeat it\n\n\`dftune.yaml\` in this repository holds every setting; its paths are names of files that you have to have.\n\n\`\`\`\nnpx dftune@${version()} train dftune.yaml\n\`\`\``,
  ]
  return `${parts.filter((part) => part !== "").join("\n\n")}\n`
}

function objectiveText(settings: unknown, name: string): string {
  const formula = definitionOf(name)?.formula
  const given = isObject(settings)
    ? Object.entries(settings).filter(([key, value]) => key !== "name" && value != null)
    : []
  const own = given.find(([key]) => key === "expression")
  const others = given.filter(([key]) => key !== "expression")
  const lines = [
    "## Objective",
    formula === undefined
      ? ""
      : `Loss of a token: \`${formula}\`, where p is the model's probability of it, c = -ln p, and no gradient passes through sg.`,
    own ? `Its expression:\n\n\`\`\`json\n${JSON.stringify(own[1])}\n\`\`\`` : "",
    others.map(([key, value]) => `- \`${key}\`: ${JSON.stringify(plainValue(value))}`).join("\n"),
  ]
  return lines.filter((line) => line !== "").join("\n\n")
}

function runText(run: RunSummary): string {
  const figures = runFigures(run)
  const { course, state, steps, planned_steps, seconds } = figures
  const ends = (name: string, { start, end, noise }: typeof course.loss) =>
    end === null ? [] : [`| ${name} | ${courseText({ start, end, noise })} |`]
  return [
    "## Training",
    `${steps} of ${planned_steps} steps, ended ${state}${seconds === null ? "" : ` after ${shortDuration(seconds)}`}. Means over the first and the last tenth of the steps:`,
    [
      "| | start to end |\n| --- | --- |",
      ...ends("loss (the objective's)", course.loss),
      ...ends("NLL, nats a token", course.nll),
      ...ends("mean probability of the targets", course.mean_p),
      ...ends("mean probability of the end of turn", course.eos_p),
    ].join("\n"),
    "The loss of some objectives falls while the model gets worse: NLL and the mean probability stand beside it.",
  ].join("\n\n")
}

async function dataText({ config, versions, start }: RunSummary): Promise<string> {
  const data = isObject(config.data) ? config.data : {}
  const sources = [...list(data.train), ...list(data.eval)].filter(isObject)
  const lines = await Promise.all(
    sources.map(async ({ path }) => {
      const name = String(path)
      const isFile = statSync(name, { throwIfNoEntry: false })?.isFile() === true
      const hash = isFile ? `, SHA-256 \`${await fileHash(name)}\` when this card was made` : ""
      return `- \`${isHubId(name) && !isFile ? name : basename(name)}\`${hash}`
    }),
  )
  const rows = start?.rows === undefined ? "" : `${shortCount(start.rows)} training rows. `
  const kept = ["rows", "data", "model_config", "tokenizer"]
    .filter((name) => typeof versions[name] === "string")
    .map((name) => `| ${name} | \`${versions[name]}\` |`)
  return [
    "## Data",
    [...new Set(lines)].join("\n"),
    `${rows}What the run recorded of its parts (\`rows\`: the tokens and masks that it trained on):`,
    ["| part | SHA-256 |\n| --- | --- |", ...kept].join("\n"),
  ].join("\n\n")
}

const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : [])

function evaluationText(run: RunSummary, evaluations: readonly SuiteResult[]): string {
  const last = new Map(run.evals.map((event) => [event.name, event]))
  const own = [...last.values()].map((event) => `| ${event.name} | ${evalText(event)} |`)
  const percent = (share: number) => (100 * share).toFixed(1)
  const suites = evaluations.map(
    ({ suite, problems, n, score, ci95: [low, high], settings }) =>
      `| ${suite} (${problems} problems, ${n} samples of each, temperature ${settings.temperature}) | ${percent(score)} % (95 %: ${percent(low)} to ${percent(high)}) |`,
  )
  if (own.length + suites.length === 0) return ""
  return ["## Evaluations", ["| | |\n| --- | --- |", ...own, ...suites].join("\n")].join("\n\n")
}

function warningText({ warnings }: RunSummary): string {
  if (warnings.length === 0) return "## Warnings\n\nThe run gave none."
  const lines = warnings.map(
    ({ code, message, step }) => `- \`${code}\` (step ${step}): ${withoutPlaces(message)}`,
  )
  return `## Warnings\n\n${lines.join("\n")}`
}

function sampleText({ samples }: RunSummary): string {
  const shown = samples.slice(-MOST_SAMPLES).map(({ step, prompt, completion }) => {
    const text = `${prompt}\n>>>\n${completion}`
    const fence = "`".repeat(
      Math.max(3, ...[...text.matchAll(/`+/g)].map(([run]) => run.length + 1)),
    )
    return `Step ${step}, the answer behind \`>>>\`:\n\n${fence}\n${text}\n${fence}`
  })
  return shown.length === 0 ? "" : `## Samples\n\n${shown.join("\n\n")}`
}
