import { fileURLToPath } from "node:url"

/** What `npm run build` made for browsers: in dist/, of the package and of a checkout alike. */
export const builtFolder = (name: string): string =>
  fileURLToPath(new URL(`../../dist/${name}`, import.meta.url))
