/** What of `rollout` no single key shows: how it fits the objective and the step. */
import {
  definitionOf,
  gaeOf,
  normalizedAdvantage,
  type Objective,
  objectiveFromConfig,
  objectiveProblems,
} from "../objectives/index.ts"
import { rewardProblems } from "../rewards/settings.ts"
import type { ConfigProblem } from "./issues.ts"
import type { Config } from "./resolve-config.ts"
import { TEACHER_PLACES } from "./teacher-schema.ts"

const at = (path: string, message: string): ConfigProblem => ({
  path: path.split("."),
  at: "value",
  message,
})

/** `objective` is undefined where it is itself wrong, which is said elsewhere. */
export function rolloutProblems(
  config: Config,
  objective: Pick<Objective, "name" | "trainsOn"> | undefined,
): ConfigProblem[] {
  const { rollout } = config
  if (rollout === null || objective === undefined) return []
  if (objective.trainsOn !== "rollouts") {
    const message = `${objective.name} trains on rows as they are and samples nothing; take rollout out, or an objective on samples (grpo, dapo, rloo, ...)`
    return [{ path: ["rollout"], at: "key", message }]
  }
  return [
    ...demonstrationProblems(rollout, objective.name),
    ...teacherProblems(config, objective.name),
    ...groupProblems(config, objective.name),
    ...samplingProblems(config, objective.name),
    ...rollout.rewards.flatMap((settings, i) =>
      rewardProblems(settings).map(({ key, message }) =>
        at(
          ["rollout", "rewards", String(i), ...(key === undefined ? [] : [key])].join("."),
          message,
        ),
      ),
    ),
    ...config.data.train.flatMap(({ objective: own, noise }, i) => [
      ...(own === undefined
        ? []
        : [at(`data.train.${i}.objective`, "prompts have the run's objective; take it out")]),
      ...(noise === undefined
        ? []
        : [at(`data.train.${i}.noise`, "of prompts no answer is trained; take it out")]),
    ]),
    ...(["near_duplicates", "decontaminate"] as const)
      .filter((key) => config.data[key] !== null)
      .map((key) => at(`data.${key}`, "prompts are taken as they are; take it out")),
  ]
}

type Rollout = NonNullable<Config["rollout"]>

function demonstrationProblems(rollout: Rollout, name: string): ConfigProblem[] {
  const { demonstrations, prefix, num_generations: n, rewards } = rollout
  const { demonstrations: use, teacher } = definitionOf(name) ?? {}
  const found: ConfigProblem[] = []
  if (demonstrations > 0 && use !== "beside") {
    const message = `${demonstrations}: ${name} ${use === "begun" ? "goes on from demonstrations (rollout.prefix)" : "learns from samples alone"}; take luffy-rl, rl-plus, srft, chord, hpt or dft-rl, or leave it out`
    found.push(at("rollout.demonstrations", message))
  }
  if (prefix !== null && use !== "begun") {
    const message = `${name} does not tell the tokens of a demonstration from its own; take prefix-rft, or leave it out`
    found.push(at("rollout.prefix", message))
  }
  if (prefix !== null && prefix.samples > n) {
    const message = `${prefix.samples}: of each prompt there are rollout.num_generations ${n} samples; take fewer`
    found.push(at("rollout.prefix.samples", message))
  }
  if (prefix !== null && Math.max(prefix.low_start, prefix.low_end) > prefix.high) {
    const message = `${prefix.high} is below low_start ${prefix.low_start} or low_end ${prefix.low_end}; raise it`
    found.push(at("rollout.prefix.high", message))
  }
  if (rollout.environment !== null && rollout.stop.length > 0) {
    const message = "a turn ends with a token of the template, not with a text; leave stop out"
    found.push(at("rollout.stop", message))
  }
  if (rollout.explore !== null && rollout.source !== "local") {
    const message =
      "a server tells log-probabilities at temperature 1 alone; leave it out, or source: local"
    found.push(at("rollout.explore", message))
  }
  found.push(...stalenessProblems(rollout))
  if (rollout.environment !== null && prefix !== null) {
    found.push(at("rollout.environment", "prefix-rft begins answers of one turn; leave it out"))
  }
  if (rewards.length === 0 && !teacher) {
    found.push(at("rollout.rewards", `expected one at least: ${name} learns from nothing else`))
  }
  return found
}

/** What cannot be while the policy trains. */
function stalenessProblems({ max_staleness: most, source, replay, rewards }: Rollout) {
  const refused = (why: string) => [at("rollout.max_staleness", `${most}: ${why}`)]
  if (most === 0) return []
  if (source === "local") {
    return refused(
      "the local engine samples with the weights that are trained, so never ahead of them; leave it out, or let a server sample (rollout.source)",
    )
  }
  if (replay !== null) {
    return refused("replay trains older samples between two rollouts; take one of the two out")
  }
  if (rewards.some(({ name }) => name === "self-score")) {
    return refused(
      "self-score asks the policy, which is being trained meanwhile; take one of the two out",
    )
  }
  return []
}

function teacherProblems({ teacher }: Config, name: string): ConfigProblem[] {
  const kind = definitionOf(name)?.teacher
  if (kind === undefined) {
    if (teacher === null) return []
    const message = `${name} has no teacher; take distill or self-distill, or leave it out`
    return [{ path: ["teacher"], at: "key", message }]
  }
  if (kind === "model" && !teacher?.model) {
    const message =
      "distill learns from another model; name one: teacher: FOLDER, a GGUF file or a hub id (the same model with a demonstration is self-distill)"
    return [{ path: ["objective"], at: "value", message }]
  }
  if (kind === "itself" && teacher?.model) {
    return [at("teacher.model", "self-distill is its own teacher; take distill, or leave it out")]
  }
  if (teacher && teacher.rate !== null && teacher.weights !== "average") {
    const message = `${teacher.rate}: only weights: average follows the model; set that, or leave it out`
    return [at("teacher.rate", message)]
  }
  const missing = TEACHER_PLACES.filter((place) => !teacher?.prompt.includes(place))
  if (kind === "model" || missing.length === 0) return []
  return [at("teacher.prompt", `expected ${missing.join(" and ")} in it, for the row's own`)]
}

function groupProblems(
  { rollout, objective, batch_size: batch }: Config,
  name: string,
): ConfigProblem[] {
  const found: ConfigProblem[] = []
  const { num_generations: n, prompts, advantage, scale_rewards } = rollout as Rollout
  const isRight = objectiveProblems(objective).length === 0
  const gae = isRight ? gaeOf(objectiveFromConfig(objective)) : undefined
  const rule = normalizedAdvantage(name, rollout as Rollout, gae)
  const asked = { advantage, scale_rewards }
  for (const [key, value] of Object.entries(asked)) {
    if (!gae || value === null) continue
    const message = `${value}: ${name} has a critic here, and with one advantages are GAE's, of each token; leave it out, or set objective.value_coefficient to 0`
    found.push(at(`rollout.${key}`, message))
  }
  if (n === 1 && (rule.baseline !== "none" || rule.scale === "group")) {
    const baseline = advantage ?? rule.baseline
    found.push(
      at(
        "rollout.num_generations",
        `1: a group of one has no baseline (advantage: ${baseline}); take 2 or more, objective: reinforce, or ppo with a critic (value_coefficient: 0.1)`,
      ),
    )
  }
  if (batch % n !== 0) {
    const below = Math.max(1, Math.floor(batch / n)) * n
    const near = [...new Set([below, below + n])].join(" or ")
    found.push(
      at(
        "batch_size",
        `${batch} sequences are no whole number of groups of rollout.num_generations ${n}; take ${near}`,
      ),
    )
  } else if (prompts !== null && (prompts * n) % batch !== 0) {
    const unit = batch / greatestCommonDivisor(batch, n)
    const below = Math.max(1, Math.floor(prompts / unit)) * unit
    const near = [...new Set([below, below + unit])].join(" or ")
    found.push(
      at(
        "rollout.prompts",
        `${prompts} prompts of ${n} samples are ${prompts * n} sequences, no whole number of steps of batch_size ${batch}; take ${near}`,
      ),
    )
  }
  return found
}

const greatestCommonDivisor = (a: number, b: number): number =>
  b === 0 ? a : greatestCommonDivisor(b, a % b)

/** Objectives whose loss compares no probabilities but the policy's own. */
const WITHOUT_RATIO = ["reinforce"]

function samplingProblems({ rollout, data }: Config, name: string): ConfigProblem[] {
  const found: ConfigProblem[] = []
  const { temperature, top_p, top_k, max_new_tokens, importance, kl_in_reward } = rollout as Rollout
  if (temperature === 0) {
    found.push(
      at("rollout.temperature", "0 is greedy: all samples of a group are equal; 1 is usual"),
    )
  }
  const { source } = rollout as Rollout
  if (source !== "local" && temperature !== 1) {
    found.push(
      at(
        "rollout.temperature",
        `${temperature}: a server tells log-probabilities at temperature 1, which are not those of what it drew; take 1, or source: local`,
      ),
    )
  }
  const compares =
    !WITHOUT_RATIO.includes(name) || kl_in_reward > 0 || (importance ?? "none") !== "none"
  for (const [key, value, whole] of [
    ["top_p", top_p, 1],
    ["top_k", top_k, 0],
  ] as const) {
    if (value === whole || !compares) continue
    found.push(
      at(
        `rollout.${key}`,
        `${value}: ${name} compares log-probabilities of the full distribution, and these samples are drawn from a part of it; leave it at ${whole} (temperature is fine)`,
      ),
    )
  }
  if (max_new_tokens >= data.max_length) {
    found.push(
      at(
        "rollout.max_new_tokens",
        `${max_new_tokens} leaves no room for a prompt within data.max_length ${data.max_length}; lower it, or raise data.max_length`,
      ),
    )
  }
  return found
}
