import { mkdirSync, mkdtempSync, readdirSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, test } from "vitest"
import { copySideFiles } from "../../src/models/files/index.ts"

function folders() {
  const root = mkdtempSync(join(tmpdir(), "dftune-side-"))
  const [from, to] = [join(root, "m"), join(root, "out")]
  mkdirSync(from)
  mkdirSync(to)
  writeFileSync(join(root, "secret.key"), "secret")
  return { root, from, to }
}

test("what belongs to a model is copied, and nothing that only looks like it", async () => {
  const { root, from, to } = folders()
  for (const name of [
    "tokenizer.json",
    "chat_template.jinja",
    "dftune.json",
    "tokenizer.old.bak",
  ]) {
    writeFileSync(join(from, name), "{}")
  }
  symlinkSync(join(root, "secret.key"), join(from, "notes.jinja"))
  await copySideFiles(from, to)
  expect(readdirSync(to).sort()).toEqual(["chat_template.jinja", "dftune.json", "tokenizer.json"])
})

test("a link out of the folder is refused; one within it, and the hub's cache, are not", async () => {
  const { root, from, to } = folders()
  symlinkSync(join(root, "secret.key"), join(from, "chat_template.jinja"))
  await expect(copySideFiles(from, to)).rejects.toThrow(/is a link to .*secret\.key, outside/)
  expect(readdirSync(to)).toEqual([])

  const snapshot = join(root, "models--o--m", "snapshots", "abc")
  mkdirSync(snapshot, { recursive: true })
  mkdirSync(join(root, "models--o--m", "blobs"))
  writeFileSync(join(root, "models--o--m", "blobs", "etag"), "{}")
  symlinkSync("../../blobs/etag", join(snapshot, "tokenizer.json"))
  writeFileSync(join(snapshot, "vocab.txt"), "a")
  symlinkSync("vocab.txt", join(snapshot, "merges.txt"))
  await copySideFiles(snapshot, to)
  expect(readdirSync(to).sort()).toEqual(["merges.txt", "tokenizer.json", "vocab.txt"])
})
