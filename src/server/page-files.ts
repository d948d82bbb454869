/**
 * The built pages and the bundled model: the files found at the start, by address; no other is ever
 * sent.
 */
import { readdirSync, readFileSync } from "node:fs"
import { extname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { type Context, Hono } from "hono"
import { builtFolder } from "../host/built-folder.ts"
import { CONTENT_SECURITY_POLICY } from "./guard.ts"
import { refusal } from "./refusal.ts"

export const BUILT_PAGES = builtFolder("web")
/** The npm package holds the bundled model once, outside the pages. */
export const BUNDLED_MODEL = fileURLToPath(new URL("../../demo/model", import.meta.url))
const MODEL_FILES = [
  ..."config.json generation_config.json tokenizer.json tokenizer_config.json".split(" "),
  "model.safetensors",
]

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".wasm": "application/wasm",
  ".json": "application/json",
}

/** Where the hub's models come from: itself, and the stores that it sends on to. */
const HUB = ["https://huggingface.co", "https://*.huggingface.co", "https://*.hf.co"]

/**
 * The playground compiles WebAssembly and needs shared memory. In exchange it reaches nothing here
 * but the files it runs on, and the hub: the cookie of a session, which a browser sends along, is
 * of no use to it.
 */
function playgroundHeaders(c: Context): Record<string, string> {
  const own = `http://${c.req.header("host")!.toLowerCase()}`
  const folders = ["ort", "model", "assets"].map((folder) => `${own}/${folder}/`)
  const reach = [...folders, ...HUB].join(" ")
  return {
    "Content-Security-Policy": `${CONTENT_SECURITY_POLICY.replace("script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'").replace("connect-src 'self'", `connect-src ${reach} blob: data:`)}; worker-src 'self' blob:`,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
  }
}

/** Addresses to files: the pages by their folder, all else by its path. */
function filesOf(pages: string): Map<string, string> {
  const found = new Map<string, string>()
  const walk = (folder: string, at: string) => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name)
      if (entry.isDirectory()) walk(path, `${at}${entry.name}/`)
      else if (entry.isFile()) {
        found.set(entry.name === "index.html" ? at : `${at}${entry.name}`, path)
      }
    }
  }
  try {
    walk(pages, "/")
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error
  }
  for (const name of MODEL_FILES) found.set(`/model/${name}`, join(BUNDLED_MODEL, name))
  return found
}

export interface PageFiles {
  /** Whether anybody may fetch it: a page's own files, none of a run's or a model's of the user. */
  has(path: string): boolean
  readonly routes: Hono
}

/** Which files run inside the playground: its page, its worker and the runtime's own workers. */
const isPlayground = (path: string) => /^\/(play\/|ort\/|assets\/worker-)/.test(path)

export function pageFiles(pages: string = BUILT_PAGES): PageFiles {
  const files = filesOf(pages)
  const routes = new Hono()
    .get("/play", (c) => c.redirect("/play/", 308))
    .get("*", async (c, next) => {
      const { path } = c.req
      const file = files.get(path)
      if (file === undefined) {
        if (path !== "/" && path !== "/play/") return next()
        throw refusal(404, `the pages are not built: npm run build makes them in ${pages}`)
      }
      for (const [name, value] of Object.entries(isPlayground(path) ? playgroundHeaders(c) : {})) {
        c.header(name, value)
      }
      const type = TYPES[extname(file)] ?? "application/octet-stream"
      return c.body(readFileSync(file), 200, { "Content-Type": type })
    })
  // What is not there is said to be so: the playground asks for files that a model may lack.
  const isPage = (path: string) => path === "/" || /^\/(play|assets|ort|model)(\/|$)/.test(path)
  return { has: (path) => isPage(path) || files.has(path), routes }
}
