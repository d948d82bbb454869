/** A process of its own that tries one device and tells its parent; see ./machine.ts. */
import { graph, input } from "../graph/index.ts"
import { float32 } from "../runtime/index.ts"
import { openDevice } from "../runtime/node.ts"

async function probe(kind: "cpu" | "webgpu"): Promise<string> {
  const device = await openDevice({ device: kind })
  const a = input("a", [4])
  const executable = await device.compile(graph("probe", { sum: a.add(a) }))
  const feed = await device.upload(float32([4], Float32Array.of(1, 2, 3, 4)))
  const { sum } = await executable.run({ a: feed })
  const { data } = await device.download(sum!)
  const right = [2, 4, 6, 8].every((value, i) => data[i] === value)
  if (!right) throw new Error(`1, 2, 3, 4 doubled gave ${[...data].join(", ")}`)
  return device.description
}

const kind = process.argv[2] === "webgpu" ? "webgpu" : "cpu"
const answer = await probe(kind).then(
  (detail) => ({ ok: true, detail }),
  (error: unknown) => ({
    ok: false,
    detail: error instanceof Error ? error.message : String(error),
  }),
)
process.send?.(answer, () => process.exit(0))
