import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, test } from "vitest"
import { readLayout } from "../../src/data/layout-file.ts"
import { readAnyModelConfig, readModelConfig } from "../../src/models/files/index.ts"
import { loadChatTemplate, loadTokenizer } from "../../src/text/index.ts"
import { tinyModel } from "../data/tiny-model.ts"

const SECRET = "hunter2"

function linkedOut(name: string): { folder: string; secret: string } {
  const root = mkdtempSync(join(tmpdir(), "dftune-link-"))
  const [folder, secret] = [join(root, "model"), join(root, "secret.key")]
  cpSync(tinyModel(), folder, { recursive: true })
  writeFileSync(secret, `${SECRET} {% ${SECRET} %}`)
  rmSync(join(folder, name), { force: true })
  mkdirSync(join(folder, name, ".."), { recursive: true })
  symlinkSync(secret, join(folder, name))
  return { folder, secret }
}

test.each<[string, (folder: string) => Promise<unknown>]>([
  ["config.json", readModelConfig],
  ["config.json", readAnyModelConfig],
  ["tokenizer.json", loadTokenizer],
  ["tokenizer_config.json", loadTokenizer],
  ["tokenizer_config.json", loadChatTemplate],
  ["chat_template.jinja", loadChatTemplate],
  ["chat_template.json", loadChatTemplate],
  ["dftune.json", readLayout],
])(
  "%s that is a link out of the folder is refused by name, its text not shown (%#)",
  async (name, read) => {
    const { folder, secret } = linkedOut(name)
    const error = await read(folder).then(
      () => undefined,
      (error: unknown) => error as Error,
    )
    expect(error?.name).toBe("InputError")
    expect(error?.message).toBe(
      `${join(folder, name)}: is a link to ${secret}, outside of the model's folder; put the file itself there`,
    )
  },
)

test("the hub's cache is read through its links, and so is a folder that is a link itself", async () => {
  const root = mkdtempSync(join(tmpdir(), "dftune-link-"))
  const snapshot = join(root, "models--o--m", "snapshots", "abc")
  const blobs = join(root, "models--o--m", "blobs")
  mkdirSync(blobs, { recursive: true })
  cpSync(tinyModel(), snapshot, { recursive: true })
  renameSync(join(snapshot, "tokenizer.json"), join(blobs, "etag"))
  symlinkSync("../../blobs/etag", join(snapshot, "tokenizer.json"))
  symlinkSync(snapshot, join(root, "linked"))
  expect((await loadTokenizer(snapshot)).encode("ab")).toHaveLength(2)
  expect((await loadTokenizer(join(root, "linked"))).encode("ab")).toHaveLength(2)
})
