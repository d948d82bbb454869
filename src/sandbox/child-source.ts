/**
 * What the sealed child runs: CommonJS, given to node by `--eval`, so that the child needs no right
 * to read our own files. One request on stdin, one reply on stdout, then its end. The program runs
 * in QuickJS, which has no module, process or timer; expected values never come here.
 */
export const CHILD_SOURCE = `"use strict"
const { readFileSync, writeSync } = require("node:fs")
const { packageFile, program, calls, limits } = JSON.parse(readFileSync(0, "utf8"))
const { newQuickJSWASMModuleFromVariant, newVariant, RELEASE_SYNC } = require(packageFile)
const problemOf = (vm, handle) => {
  const error = vm.dump(handle)
  return String(error && error.message !== undefined ? error.name + ": " + error.message : error)
}
const valueOf = (vm, handle) => {
  if (!["object", "string", "number", "boolean"].includes(vm.typeof(handle))) {
    return { problem: "the result is no JSON value" }
  }
  if (!vm.getPromiseState(handle).notAPromise) return { problem: "the result is a promise" }
  const value = vm.dump(handle)
  if (typeof value === "number" && !Number.isFinite(value)) {
    return { problem: "the result is no JSON value" }
  }
  const text = JSON.stringify(value)
  if (text === undefined) return { problem: "the result is no JSON value" }
  return text.length > limits.resultCharacters ? { problem: "the result is too long" } : { value }
}
const run = async () => {
  const wasmMemory = new WebAssembly.Memory({ initial: 256, maximum: limits.memoryPages })
  const module = await newQuickJSWASMModuleFromVariant(newVariant(RELEASE_SYNC, { wasmMemory }))
  const runtime = module.newRuntime()
  runtime.setMemoryLimit(limits.memoryPages * 65536)
  runtime.setMaxStackSize(128 * 1024)
  // The parent kills first; this ends a child whose parent was killed.
  const deadline = Date.now() + limits.seconds * 1000 + 5000
  runtime.setInterruptHandler(() => Date.now() > deadline)
  const vm = runtime.newContext()
  const defined = vm.evalCode(program, "program.js")
  if (defined.error) return { problem: problemOf(vm, defined.error) }
  return {
    results: calls.map((call) => {
      const result = vm.evalCode(call, "call.js")
      return result.error ? { problem: problemOf(vm, result.error) } : valueOf(vm, result.value)
    }),
  }
}
run()
  .catch((error) => ({ problem: String(error) }))
  .then((reply) => {
    writeSync(1, JSON.stringify(reply).slice(0, limits.replyCharacters))
    process.exit(0)
  })
`
