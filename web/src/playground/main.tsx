import { render } from "preact"
import "uplot/dist/uPlot.min.css"
import "../parts/theme.css"
import "./playground.css"
import { App } from "./app.tsx"
import { isolate } from "./isolation.ts"

await isolate()
render(<App />, document.querySelector("#app")!)
