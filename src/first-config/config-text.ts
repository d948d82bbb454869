/** The dftune.yaml that `init` writes: the settings that matter, each with its reason. */
import type { Columns } from "../data/index.ts"
import { shortCount } from "../report/units.ts"
import type { ModelFacts, Proposal, RowFacts } from "../train/proposal.ts"

export interface ConfigParts {
  readonly model: string
  readonly train: string
  readonly columns: Columns | undefined
  readonly objective: string
  /** Why end-of-turn tokens keep their full weight; undefined where they need not. */
  readonly keepSpecial: string | undefined
  readonly proposal: Proposal
  readonly facts: { readonly model: ModelFacts | undefined; readonly rows: RowFacts | undefined }
}

/** Text that YAML reads back as the same text: quoted unless it is plainly a name or path. */
const yamlText = (text: string): string =>
  /^[A-Za-z_./][\w./*-]*$/.test(text) && !/^(true|false|null|yes|no|on|off|~)$/i.test(text)
    ? text
    : JSON.stringify(text)

const number = (value: number): string =>
  value !== 0 && value < 1e-3
    ? value
        .toExponential()
        .replace("e-", ".0e-")
        .replace(/(\.\d+)\.0/, "$1")
    : String(value)

/** Comments stand in one column, where the settings leave room for it. */
const COLUMN = 40
/** A longer setting has its comment above. */
const WIDTH = 100

function line(setting: string, why: string): string {
  const beside = `${setting.padEnd(COLUMN - 1)} # ${why}`
  if (beside.length <= WIDTH) return beside
  const indent = /^ */.exec(setting)![0]
  return `${indent}# ${why}
${setting}`
}

export function configText(parts: ConfigParts): string {
  const { proposal, objective, keepSpecial } = parts
  const { adapter, maxLength, evalSplit, batchSize, epochs, learningRate, sampleEvery } = proposal
  const lora = "adapter: { type: lora, r: 8, lora_alpha: 16 }"
  const named = yamlText(objective)
  return [
    ...header(parts),
    `model: ${yamlText(parts.model)}`,
    "data:",
    `  train: ${yamlText(parts.train)}`,
    ...(parts.columns === undefined ? [] : [columnsLine(parts.columns)]),
    line(`  ${evalSplit.value > 0 ? "" : "# "}eval_split: ${evalSplit.value}`, evalSplit.why),
    line(`  max_length: ${maxLength.value}`, maxLength.why),
    keepSpecial === undefined
      ? line(`objective: ${named}`, "what is minimised: dftune probe says what suits the rows")
      : line(`objective: { name: ${named}, keep_special: true }`, keepSpecial),
    line(adapter.value ? lora : `# ${lora}`, adapter.why),
    line(`learning_rate: ${number(learningRate.value)}`, learningRate.why),
    line(`batch_size: ${batchSize.value}`, batchSize.why),
    line(`num_train_epochs: ${epochs.value}`, epochs.why),
    line(
      `generate_samples: { prompts: 4, every: ${sampleEvery.value}, max_new_tokens: 128 }`,
      sampleEvery.why,
    ),
    line("# output_dir: runs/NAME", "left out: runs/my-run, then runs/my-run-2, ..."),
    "",
  ].join("\n")
}

const columnsLine = (columns: Columns): string => {
  const pairs = Object.entries(columns).map(
    ([name, column]) => `${name}: ${column === null ? "null" : yamlText(column)}`,
  )
  return line(`  columns: { ${pairs.join(", ")} }`, "what the rows call them")
}

function header({ facts: { model, rows } }: ConfigParts): string[] {
  const found = [
    ...(model === undefined
      ? []
      : [`${model.model.modelType}, ${shortCount(model.parameters)} parameters`]),
    ...(rows === undefined
      ? []
      : [
          `${rows.complete ? "" : "the first "}${shortCount(rows.rows)} rows, ${shortCount(rows.tokens)} tokens, the longest ${shortCount(rows.longest)}`,
        ]),
  ]
  return [
    "# Written by dftune init. Every other setting is at its default: dftune config schema,",
    "# dftune config show dftune.yaml, docs/configuration.md.",
    ...(found.length === 0 ? [] : [`# Found: ${found.join("; ")}.`]),
    "",
  ]
}
