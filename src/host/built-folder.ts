import { fileURLToPath } from "node:url"

/** What `npm run build` made beside the compiled files: in this package, or in dist/ of a checkout. */
export const builtFolder = (name: string): string =>
  fileURLToPath(
    new URL(
      import.meta.url.includes("/src/") ? `../../dist/${name}` : `../${name}`,
      import.meta.url,
    ),
  )
