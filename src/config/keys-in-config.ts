/**
 * A config is copied into run folders, reports and trackers; a key to a service is not for those.
 */
import { isObject } from "../formats/json.ts"
import type { ConfigProblem, KeyPath } from "./issues.ts"

const KEY_NAME =
  /^token$|(^|_)(api_?key|secret|password|(access|auth|hf|hub|hf_hub|tracking|hub_model)_token)$/i
/** Keys of services by their looks: Hugging Face, OpenAI and its kin, W&B, GitHub, AWS. */
const KEY_VALUE =
  /\b(hf_[A-Za-z0-9]{30,}|sk-[\w-]{20,}|wandb_v\d_\w{20,}|gh[pousr]_\w{30,}|AKIA[0-9A-Z]{16})\b/
const USER_IN_ADDRESS = /^[a-z][a-z+.-]*:\/\/[^/@\s]+@/i

/** A data source's columns are anybody's names; a new token stands under `token`. */
const OWN_NAMES: ReadonlySet<KeyPath[number]> = new Set(["data", "model_tokens"])

const WHERE = "a config is copied into run folders and reports"
const ENVIRONMENT =
  "leave it out and set it in the environment (HF_TOKEN, WANDB_API_KEY, MLFLOW_TRACKING_TOKEN, OPENAI_API_KEY)"

/** Every key that stands in a config; none is repeated in the message. */
export function keyProblems(input: unknown, path: KeyPath = []): ConfigProblem[] {
  if (typeof input === "string") {
    if (KEY_VALUE.test(input)) {
      return [
        {
          path,
          at: "value",
          message: `this looks like a key to a service, and ${WHERE}; ${ENVIRONMENT}`,
        },
      ]
    }
    if (!USER_IN_ADDRESS.test(input)) return []
    return [
      {
        path,
        at: "value",
        message: `this address holds a user or password, and ${WHERE}; expected one without`,
      },
    ]
  }
  if (Array.isArray(input)) return input.flatMap((one, i) => keyProblems(one, [...path, i]))
  if (!isObject(input)) return []
  return Object.entries(input).flatMap(([name, value]): ConfigProblem[] => {
    const at = [...path, name]
    const isKey =
      !OWN_NAMES.has(path[0]!) && KEY_NAME.test(name) && typeof value === "string" && value !== ""
    if (isKey)
      return [
        {
          path: at,
          at: "key",
          message: `${name}: a key stands here, and ${WHERE}; ${ENVIRONMENT}`,
        },
      ]
    return keyProblems(value, at)
  })
}
