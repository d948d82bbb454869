import { render } from "preact"
import "uplot/dist/uPlot.min.css"
import "../parts/theme.css"
import "./playground.css"
import { App } from "./app.tsx"
import { isolate } from "./isolation.ts"

// A file dropped beside the places for it would be opened in place of the page, and all runs be
// lost.
for (const type of ["dragover", "drop"] as const) {
  window.addEventListener(type, (event) => event.preventDefault())
}

await isolate()
render(<App />, document.querySelector("#app")!)
