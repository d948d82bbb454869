import { cp, mkdtemp, readFile, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, test } from "vitest"
import { loadModel, openWeights } from "../../src/models/files/index.ts"
import { MODELS } from "./golden-models.ts"

async function withLayers(count: (own: number) => number) {
  const folder = await mkdtemp(join(tmpdir(), "dftune-layers-"))
  await cp(`${MODELS}qwen2`, folder, { recursive: true })
  const path = join(folder, "config.json")
  const config = JSON.parse(await readFile(path, "utf8"))
  const own: number = config.num_hidden_layers
  const { layer_types: _, ...rest } = config
  await writeFile(path, JSON.stringify({ ...rest, num_hidden_layers: count(own) }))
  return { folder, own }
}

test.each([1, 2, 900, 4000])(
  "a config with %i layers more than the tensors names both numbers, and allocates nothing",
  async (more) => {
    const { folder, own } = await withLayers((own) => own + more)
    let allocated = 0
    const allocate = (elements: number) => {
      allocated += elements
      return new Float32Array(elements)
    }
    await expect(loadModel(folder, { allocate })).rejects.toThrow(
      `${folder}: config.json says "num_hidden_layers": ${own + more}, and the checkpoint has tensors of ${own} (the last is model.layers.${own - 1})`,
    )
    expect(allocated).toBe(0)
  },
)

test("more layers than any model has are refused by the config alone", async () => {
  const { folder } = await withLayers(() => 4097)
  await expect(openWeights(folder)).rejects.toThrow(
    /"num_hidden_layers" to be a whole number from 1 to 4096, got 4097/,
  )
})

test("fewer layers than the tensors: those without a place are named; as many are read", async () => {
  const { folder, own } = await withLayers((own) => own - 1)
  await expect(openWeights(folder)).rejects.toThrow(
    new RegExp(`unexpected tensors .*model\\.layers\\.${own - 1}\\.`),
  )
  await (await openWeights((await withLayers((own) => own)).folder)).close()
})
