/** A report with scripts: the page's components over the data that the report holds. */
import { render } from "preact"
import "uplot/dist/uPlot.min.css"
import "../parts/theme.css"
import "../pages/pages.css"
import "../run-view/run-view.css"
import "../pages/tools.css"
import "./report.css"
import type { FrozenRun } from "../../../src/report/frozen-run.ts"
import { Report } from "./report.tsx"

const element = (id: string) => document.getElementById(id)!

const runs: readonly FrozenRun[] = JSON.parse(element("data").textContent)
// Until here the report looked as it does without scripts; its own style would disagree with the
// page's.
element("still").remove()
;(element("moving") as HTMLStyleElement).media = "all"
const place = element("runs")
place.replaceChildren()
render(<Report runs={runs} />, place)
