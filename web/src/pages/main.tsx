import { render } from "preact"
import "uplot/dist/uPlot.min.css"
import "../parts/theme.css"
import "./pages.css"
import "../run-view/run-view.css"
import "./tools.css"
import { App } from "./app.tsx"
import { exchangeToken } from "./session.ts"

await exchangeToken()
render(<App />, document.querySelector("#app")!)
