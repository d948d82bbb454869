/** Variables whose values are keys: they go to the service that they are for, and nowhere else. */
export const KEY_VARIABLES = [
  "MLFLOW_TRACKING_TOKEN",
  "MLFLOW_TRACKING_PASSWORD",
  "WANDB_API_KEY",
  "HF_TOKEN",
  "HUGGING_FACE_HUB_TOKEN",
] as const

/** A text that somebody else wrote, without keys that it may repeat. */
export function withoutKeys(text: string, keys: readonly string[] = []): string {
  const known = [...KEY_VARIABLES.map((name) => process.env[name] ?? ""), ...keys]
  return known.reduce((said, key) => (key.length < 4 ? said : said.replaceAll(key, "***")), text)
}
