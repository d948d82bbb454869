import { existsSync } from "node:fs"
import { join } from "node:path"
import { diskFolder } from "../formats/disk-folder.ts"
import { readTextFile } from "../formats/json-files.ts"
import { refuseLinkOut } from "../formats/link-out.ts"
import type { ChatTemplate } from "./chat-template.ts"
import { chatTemplateIn, MAX_TEMPLATE_BYTES } from "./model-chat-template.ts"
import { refuseEndlessPatterns } from "./pattern-time.ts"
import { stopTokensIn } from "./stop-tokens.ts"
import { type Tokenizer, tokenizerIn } from "./tokenizer.ts"

/** {@link tokenizerIn} of a model folder on the disk. */
export async function loadTokenizer(folder: string): Promise<Tokenizer> {
  const path = join(folder, "tokenizer.json")
  if (existsSync(path)) {
    refuseLinkOut(folder, "tokenizer.json")
    refuseEndlessPatterns(await readTextFile(path, MAX_TOKENIZER_BYTES), path)
  }
  return tokenizerIn(diskFolder(folder))
}

/** As large as any that is published, several times over. */
const MAX_TOKENIZER_BYTES = 512e6

/** {@link stopTokensIn} of a model folder on the disk. */
export function stopTokenIds(folder: string, tokenizer: Tokenizer): Promise<ReadonlySet<number>> {
  return stopTokensIn(diskFolder(folder), tokenizer)
}

/**
 * {@link chatTemplateIn} of a model folder on the disk.
 *
 * @param file a .jinja file to use in place of the model's own.
 */
export async function loadChatTemplate(
  folder: string,
  { file, inParts }: { readonly file?: string; readonly inParts?: boolean } = {},
): Promise<ChatTemplate | null> {
  const own =
    file === undefined
      ? undefined
      : { path: file, source: await readTextFile(file, MAX_TEMPLATE_BYTES) }
  return chatTemplateIn(diskFolder(folder), own, inParts)
}
