export { type ServeFolderOptions, serveFolder } from "./serve-folder.ts"
export { type ServeOptions, type Serving, serve } from "./server.ts"
