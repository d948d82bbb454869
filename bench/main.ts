/** `npm run bench -- NAME [options]`: runs bench/NAME.ts, which exports `run(args)`. */
import { existsSync, readdirSync } from "node:fs"
import { fileURLToPath } from "node:url"

const [name, ...args] = process.argv.slice(2)
const names = readdirSync(fileURLToPath(new URL(".", import.meta.url)))
  .filter((file) => file.endsWith(".ts") && file !== "main.ts")
  .map((file) => file.slice(0, -3))
const module = new URL(`./${name}.ts`, import.meta.url)
if (name === undefined || !names.includes(name) || !existsSync(module)) {
  console.error(`usage: npm run bench -- NAME [options]; NAME is one of ${names.join(", ")}`)
  process.exit(2)
}
const { run } = (await import(module.href)) as { run: (args: string[]) => Promise<void> }
await run(args)
