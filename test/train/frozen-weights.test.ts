import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, assert, beforeAll, expect, test } from "vitest"
import { openWeights } from "../../src/models/files/index.ts"
import type { DeviceTensor, HostTensor } from "../../src/runtime/index.ts"
import { bf16Kernel, openDevice } from "../../src/runtime/node.ts"
import { isOnnxTensor, type OnnxTensor } from "../../src/runtime/onnx/onnx-tensor.ts"
import { baseWeights, frozenWeights } from "../../src/train/model-weights.ts"
import { tinyModel } from "./tiny-model.ts"

let root = ""
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "dftune-frozen-"))
  tinyModel(root)
})
afterAll(() => rmSync(root, { recursive: true, force: true }))

/** What a tensor holds, packed or not. */
function bytesOf(tensor: HostTensor | DeviceTensor) {
  assert(isOnnxTensor(tensor as DeviceTensor))
  const { data } = (tensor as OnnxTensor).ort("f32")
  return { isPacked: (tensor as OnnxTensor).isPacked ?? false, data }
}

const open = () => openWeights(join(root, "model-start"))

test.skipIf(bf16Kernel() === undefined)(
  "a frozen base packed as it is read is the base packed afterwards",
  async () => {
    const device = await openDevice({ device: "cpu", dtype: "bf16" })
    const whole = await baseWeights(await open(), undefined)
    const held = await frozenWeights(await open(), { device })
    expect([...held.keys()]).toEqual([...whole.keys()])
    for (const [name, host] of whole) {
      const isMatrix = host.shape.length === 2
      const expected = await (isMatrix ? device.uploadFactor(host) : device.upload(host))
      expect(bytesOf(held.get(name)!), name).toEqual(bytesOf(expected))
    }
    await device.release()
  },
)

test.skipIf(bf16Kernel() === undefined)(
  "a matrix that is read some rows at a time is packed to the bytes of the whole",
  async () => {
    const device = await openDevice({ device: "cpu", dtype: "bf16" })
    const [rows, columns] = [1001, 2500]
    const data = Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(i))
    const asked: number[] = []
    const read = async (row: number, into: Float32Array) => {
      asked.push(row)
      into.set(data.subarray(row * columns, row * columns + into.length))
    }
    const some = await device.uploadFactor({ shape: [rows, columns], read })
    const whole = await device.uploadFactor({ dtype: "f32", shape: [rows, columns], data })
    expect(asked.length).toBeGreaterThan(1)
    const [a, b] = [some, whole].map((tensor) => Buffer.from(bytesOf(tensor).data as Uint8Array))
    expect(a!.equals(b!)).toBe(true)
    await device.release()
  },
)

test("in float32 it is the base as it lies in memory", async () => {
  const device = await openDevice({ device: "cpu", dtype: "fp32" })
  expect(await frozenWeights(await open(), { device })).toEqual(
    await baseWeights(await open(), undefined),
  )
  await device.release()
})
