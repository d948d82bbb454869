/**
 * What the sealed child of a Python interpreter runs: CommonJS, given to node by `--eval`. Requests
 * and replies are lines on stdin and stdout, read and written while nothing else runs, so that
 * Python may wait for another interpreter in the middle of an expression.
 *
 * `program`: runs what a model wrote and answers calls of its functions. It never sees a test.
 * `check`: runs tests, in which every unknown name is a function that the program's process
 * answers.
 */
import { PYTHON_CODEC } from "./python-codec.ts"

/** In the snapshot, so that they cost no program any time. */
const PRELOADED =
  "math, re, collections, itertools, typing, heapq, string, copy, json, functools, random, datetime, bisect, statistics, ast, operator, hashlib, base64, decimal, fractions, dataclasses, enum, abc, sys, os, time, queue, builtins, textwrap, pprint, numbers, cmath, struct, io, contextlib, warnings, traceback, inspect"

/** Ways out of the interpreter, taken away; the process has no rights beside. */
const CLOSE = `
def _close():
    import sys, os, posix
    for module in (os, posix):
        for name in ("system", "popen"):
            if hasattr(module, name): delattr(module, name)
    import pyodide.code
    def refused(*args, **kwargs): raise PermissionError("programs have no way to the host")
    pyodide.code.run_js = refused
    closed = ("js", "pyodide_js", "_pyodide_core", "ctypes", "_ctypes")
    for name in [one for one in sys.modules if one.split(".")[0] in closed]: del sys.modules[name]
    class Closed:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in closed: raise ImportError(name + " is not here")
    sys.meta_path.insert(0, Closed())
    sys.setrecursionlimit(1000)
_close()
del _close
`

const PROGRAM = `
def _program():
    encode, decode = _codec()
    space = {"__name__": "program", "__builtins__": __builtins__}
    described = lambda error: type(error).__name__ + ": " + str(error)[:300]
    answer = json_text = __import__("json").dumps
    everything = BaseException

    def define(source):
        try:
            exec(compile(source, "program.py", "exec"), space)
            return answer({"done": True})
        except everything as error:
            return answer({"raised": described(error)})

    def call(name, args):
        try:
            positional, named = decode(args)
            return answer({"value": encode(space[name](*positional, **named))})
        except KeyError as error:
            if name in space: return answer({"raised": described(error)})
            return answer({"raised": "NameError: the program defines no " + name})
        except everything as error:
            return answer({"raised": described(error)})
    return define, call
_define, _call = _program()
`

const CHECK = `
def _check():
    import ast, builtins, json
    from dftune_host import ask
    encode, decode = _codec()

    class ProgramFailed(Exception): pass
    class ProgramStopped(BaseException): pass

    def proxy(name):
        def called(*args, **kwargs):
            reply = json.loads(ask(name, encode((list(args), kwargs))))
            if "value" in reply: return decode(reply["value"])
            kind, _, message = reply["raised"].partition(": ")
            known = getattr(builtins, kind, None)
            if not isinstance(known, type) or not issubclass(known, BaseException):
                raise ProgramFailed(reply["raised"])
            if issubclass(known, Exception): raise known(message)
            raise ProgramStopped(reply["raised"])
        called.__name__ = name
        return called

    def check(setup, tests, functions):
        space = {"__name__": "tests"}
        try:
            if setup: exec(compile(setup, "setup.py", "exec"), space)
            tree = ast.parse(tests, "tests.py")
            names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            stored = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
            stored |= {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
            stored |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
            for node in ast.walk(tree):
                if isinstance(node, (ast.Import, ast.ImportFrom)):
                    stored |= {(one.asname or one.name).split(".")[0] for one in node.names}
            for name in names - stored:
                if not hasattr(builtins, name) and name not in space: space[name] = proxy(name)
            for name in functions: space[name] = proxy(name)
            exec(compile(tree, "tests.py", "exec"), space)
            return json.dumps({"passed": True})
        except AssertionError as error:
            return json.dumps({"passed": False, "problem": "a test failed" + (": " + str(error)[:300] if str(error) else "")})
        except BaseException as error:
            return json.dumps({"passed": False, "problem": type(error).__name__ + ": " + str(error)[:300]})
    return check
_check = _check()
`

export const PYTHON_CHILD_SOURCE = `"use strict"
const fs = require("node:fs")
const { pathToFileURL } = require("node:url")
let rest = Buffer.alloc(0)
const chunk = Buffer.alloc(65536)
const readLine = () => {
  for (;;) {
    const end = rest.indexOf(10)
    if (end >= 0) {
      const line = rest.subarray(0, end).toString("utf8")
      rest = rest.subarray(end + 1)
      return line
    }
    let read = 0
    try {
      read = fs.readSync(0, chunk, 0, chunk.length, null)
    } catch (error) {
      if (error.code === "EAGAIN") { Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5); continue }
      throw error
    }
    if (read === 0) exit()
    rest = Buffer.concat([rest, chunk.subarray(0, read)])
  }
}
const exit = process.exit.bind(process)
const writeAll = (bytes) => {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += fs.writeSync(1, bytes, at, bytes.length - at)
    } catch (error) {
      if (error.code !== "EAGAIN") throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
    }
  }
}
const say = (reply) => writeAll(Buffer.from(reply + "\\n"))
// Pyodide asks for it while it loads, and the permission model refuses it
process.binding = () => ({ fs: fs.constants, constants: fs.constants })
const { mode, packageFile, snapshot, memoryBytes, characters } = JSON.parse(readLine())
const grow = WebAssembly.Memory.prototype.grow
WebAssembly.Memory.prototype.grow = function (pages) {
  if (this.buffer.byteLength + pages * 65536 > memoryBytes) throw new RangeError("out of memory")
  return grow.call(this, pages)
}
let printed = 0
const sink = { write: (bytes) => {
  printed += bytes.length
  if (printed > characters) throw new Error("too much output")
  return bytes.length
} }
const run = async () => {
  const { loadPyodide } = await import(pathToFileURL(packageFile))
  const quiet = { stdout: () => {}, stderr: () => {} }
  if (mode === "snapshot") {
    const python = await loadPyodide({ ...quiet, _makeSnapshot: true })
    python.runPython("import ${PRELOADED}")
    writeAll(python.makeMemorySnapshot())
    exit()
  }
  const from = snapshot === null ? {} : { _loadSnapshot: fs.readFileSync(snapshot) }
  const python = await loadPyodide({ ...quiet, ...from })
  python.setStdout(sink)
  python.setStderr(sink)
  python.setStdin({ error: true })
  if (mode === "check")
    python.registerJsModule("dftune_host", {
      ask: (name, args) => {
        say(JSON.stringify({ call: name, args }))
        return readLine()
      },
    })
  python.runPython(${JSON.stringify(PYTHON_CODEC)})
  python.runPython(mode === "check" ? ${JSON.stringify(CHECK)} : ${JSON.stringify(PROGRAM)})
  python.runPython(${JSON.stringify(CLOSE)})
  for (const name of ["fetch", "WebSocket", "XMLHttpRequest", "require", "Worker", "BroadcastChannel", "MessageChannel", "process"])
    try { delete globalThis[name] } catch {}
  const bounded = (reply) => (reply.length > characters ? '{"raised":"ValueError: a value that is too long"}' : reply)
  if (mode === "check") {
    const check = python.globals.get("_check")
    say('{"ready":true}')
    for (;;) {
      const { setup, tests, functions } = JSON.parse(readLine())
      say(check(setup, tests, python.toPy(functions)))
    }
  }
  const define = python.globals.get("_define")
  const call = python.globals.get("_call")
  python.runPython("for name in ('_codec', '_program', '_define', '_call'): globals().pop(name, None)")
  say('{"ready":true}')
  for (;;) {
    const request = JSON.parse(readLine())
    say(bounded(request.program === undefined ? call(request.call, request.args) : define(request.program)))
  }
}
run().catch((error) => {
  say(JSON.stringify({ problem: String((error && error.message) || error).slice(-500) }))
  exit(1)
})
`
