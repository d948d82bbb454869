/**
 * What the sealed child runs: CommonJS, given to node by `--eval`, so that the child needs no right
 * to read our own files. One request on stdin, one reply on stdout, then its end. The program runs
 * in QuickJS, which has no module, process or timer; expected values never come here.
 *
 * A result leaves the interpreter as text that ENCODE makes of it with builtins taken before the
 * program ran: numbers, texts, booleans, null, arrays and plain objects of them. What JSON would
 * quietly turn into something else (NaN, a Map, a nested promise, undefined in a list) is no
 * result.
 */
const ENCODE = `(() => {
  const { stringify } = JSON
  const { isArray } = Array
  const { isFinite } = Number
  const { getPrototypeOf, ownKeys } = Reflect
  const plain = Object.prototype
  const text = String
  const fail = (what) => { throw "the result holds " + what + ", which is no JSON value" }
  const encode = (value, depth) => {
    if (depth > 100) fail("more than 100 levels")
    if (value === null) return "null"
    switch (typeof value) {
      case "boolean": return value ? "true" : "false"
      case "string": return stringify(value)
      case "number": return isFinite(value) ? text(value) : fail(text(value))
      case "object": break
      default: fail(typeof value === "undefined" ? "undefined" : "a " + typeof value)
    }
    let all = ""
    if (isArray(value)) {
      const { length } = value
      for (let i = 0; i < length; i++) all += (i ? "," : "") + encode(value[i], depth + 1)
      return "[" + all + "]"
    }
    const prototype = getPrototypeOf(value)
    if (prototype !== plain && prototype !== null) fail("an object that is not plain")
    const keys = ownKeys(value)
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i]
      if (typeof key !== "string") continue
      const held = value[key]
      if (held === undefined) continue
      all += (all ? "," : "") + stringify(key) + ":" + encode(held, depth + 1)
    }
    return "{" + all + "}"
  }
  return (value) => encode(value, 0)
})()`

export const CHILD_SOURCE = `"use strict"
const { readFileSync, writeSync } = require("node:fs")
const { packageFile, program, calls, limits } = JSON.parse(readFileSync(0, "utf8"))
const { newQuickJSWASMModuleFromVariant, newVariant, RELEASE_SYNC } = require(packageFile)
const ENCODE = ${JSON.stringify(ENCODE)}
const problemOf = (vm, handle) => {
  const error = vm.dump(handle)
  return String(error && error.message !== undefined ? error.name + ": " + error.message : error)
}
// A promise is followed once all that can be done without a timer is done.
const settled = (vm, runtime, handle) => {
  const isPromise = vm.typeof(handle) === "object" && !vm.getPromiseState(handle).notAPromise
  if (!isPromise) return { handle }
  const jobs = runtime.executePendingJobs()
  if (jobs.error) return { problem: problemOf(vm, jobs.error) }
  const state = vm.getPromiseState(handle)
  if (state.type === "fulfilled") return { handle: state.value }
  if (state.type === "rejected") return { problem: problemOf(vm, state.error) }
  return { problem: "the result is a promise that never settles" }
}
const valueOf = (vm, encode, handle) => {
  const encoded = vm.callFunction(encode, vm.undefined, handle)
  if (encoded.error) return { problem: problemOf(vm, encoded.error) }
  const text = vm.getString(encoded.value)
  return text.length > limits.resultCharacters
    ? { problem: "the result is too long" }
    : { value: JSON.parse(text) }
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
  // Taken before the program can change them.
  const encode = vm.unwrapResult(vm.evalCode(ENCODE, "encode.js"))
  const parse = vm.unwrapResult(vm.evalCode("JSON.parse", "parse.js"))
  const defined = vm.evalCode(program, "program.js")
  if (defined.error) return { problem: problemOf(vm, defined.error) }
  const started = runtime.executePendingJobs()
  if (started.error) return { problem: problemOf(vm, started.error) }
  const result = ({ code, args }) => {
    const called = vm.evalCode(code, "call.js")
    if (called.error) return { problem: problemOf(vm, called.error) }
    const given = vm.unwrapResult(vm.callFunction(parse, vm.undefined, vm.newString(args)))
    const came = vm.callFunction(called.value, vm.undefined, given)
    if (came.error) return { problem: problemOf(vm, came.error) }
    const { handle, problem } = settled(vm, runtime, came.value)
    return problem === undefined ? valueOf(vm, encode, handle) : { problem }
  }
  return { results: calls.map(result) }
}
run()
  .catch((error) => ({ problem: String(error) }))
  .then((reply) => {
    writeSync(1, JSON.stringify(reply).slice(0, limits.replyCharacters))
    process.exit(0)
  })
`
