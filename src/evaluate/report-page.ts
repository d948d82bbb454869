/**
 * Style and script of the evaluation page. All text goes in by `textContent`: nothing of the data
 * is markup.
 */

export const STYLE = `
:root { color-scheme: light dark; --fg: #1c2024; --bg: #fff; --dim: #667079; --line: #d9dee3; --card: #f7f9fa;
  --good: #1a7f43; --good-bg: #dff5e6; --bad: #a32a22; --bad-bg: #fbe3e1; --open: #7a5a00; --open-bg: #fff1c2; }
@media (prefers-color-scheme: dark) { :root { --fg: #e6e9ec; --bg: #15181b; --dim: #98a2ab; --line: #363c42; --card: #1c2024;
  --good: #7ee2a3; --good-bg: #16392a; --bad: #ff9d94; --bad-bg: #47201d; --open: #ffe08a; --open-bg: #45380b; } }
body { margin: 0 auto; max-width: 64rem; padding: 1.5rem; font: 15px/1.5 system-ui, sans-serif; color: var(--fg); background: var(--bg); }
h1 { font-size: 1.35rem; margin: 0; overflow-wrap: anywhere; } .dim { color: var(--dim); font-size: .87rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .87rem; }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.bar { position: sticky; top: 0; background: var(--bg); padding: .6rem 0; display: flex; gap: .5rem; flex-wrap: wrap; align-items: center; z-index: 1; }
button { font: inherit; font-size: .87rem; padding: .2rem .7rem; border: 1px solid var(--line); border-radius: 99px; background: none; color: inherit; cursor: pointer; margin-right: .3rem; }
button[aria-pressed=true] { background: var(--fg); color: var(--bg); }
input { font: inherit; font-size: .87rem; padding: .25rem .6rem; border: 1px solid var(--line); border-radius: 6px; background: none; color: inherit; flex: 1; min-width: 10rem; }
section { border: 1px solid var(--line); border-radius: 8px; padding: .8rem 1rem; margin: .8rem 0; }
section > header { display: flex; justify-content: space-between; gap: 1rem; font-size: .87rem; color: var(--dim); }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font: 13px/1.6 ui-monospace, monospace; margin: .4rem 0; }
details { border-top: 1px solid var(--line); padding: .35rem 0; } summary { cursor: pointer; overflow-wrap: anywhere; }
details pre { background: var(--card); padding: .6rem; border-radius: 6px; max-height: 24rem; overflow: auto; }
.tag { display: inline-block; border-radius: 4px; padding: 0 .45rem; font-size: .82rem; margin-right: .4rem; }
.correct { color: var(--good); background: var(--good-bg); } .wrong { color: var(--bad); background: var(--bad-bg); } .undecided { color: var(--open); background: var(--open-bg); }
code { font: 13px ui-monospace, monospace; }`

export const SCRIPT = `
const problems = JSON.parse(document.getElementById("data").textContent)
const list = document.getElementById("list"), count = document.getElementById("count")
const status = (s) => s.correct ? "correct" : s.decided ? "wrong" : "undecided"
const FILTERS = {
  all: () => true, wrong: (s) => status(s) === "wrong", undecided: (s) => status(s) === "undecided",
  correct: (s) => s.correct, "no answer": (s) => s.extracted === null, "strict differs": (s) => s.strict !== s.lenient, "cut off": (s) => s.finish === "length",
}
let active = "all"
const element = (name, text, kind) => { const e = document.createElement(name); if (text !== undefined) e.textContent = text; if (kind) e.className = kind; return e }
const buttons = Object.keys(FILTERS).map((name) => {
  const total = problems.reduce((n, p) => n + p.samples.filter(FILTERS[name]).length, 0)
  const button = element("button", name + " " + total)
  button.onclick = () => { active = name; draw() }
  document.getElementById("filters").append(button)
  return [name, button]
})
const search = document.getElementById("search")
search.oninput = () => draw()
const PAGE = 60
function sampleView(s) {
  const view = element("details"), head = element("summary")
  head.append(element("span", status(s), "tag " + status(s)), element("code", s.extracted === null ? "(no answer)" : s.extracted.slice(0, 200)))
  head.append(element("span", "  " + s.reason + " · found: " + s.found + " · seed " + s.seed + (s.finish === "length" ? " · cut off" : "") + (s.strict === s.lenient ? "" : " · strict: " + (s.strict ? "correct" : "wrong")), "dim"))
  view.append(head, element("pre", s.text))
  return view
}
function problemView(p, samples) {
  const view = element("section"), header = element("header")
  header.append(element("span", p.suite + " · " + p.id), element("span", p.samples.filter((s) => s.correct).length + " of " + p.samples.length + " correct"))
  const gold = element("p", "gold: ", "dim")
  gold.append(element("code", p.gold ?? ""))
  view.append(header, element("pre", p.problem), gold, ...samples.map(sampleView))
  return view
}
function draw(limit = PAGE) {
  for (const [name, button] of buttons) button.setAttribute("aria-pressed", String(name === active))
  const text = search.value.toLowerCase()
  const shown = problems.map((p) => {
    const here = text === "" || p.problem.toLowerCase().includes(text) || p.id.toLowerCase().includes(text)
    return [p, p.samples.filter((s) => FILTERS[active](s) && (here || s.text.toLowerCase().includes(text)))]
  }).filter(([, samples]) => samples.length > 0)
  list.replaceChildren(...shown.slice(0, limit).map(([p, samples]) => problemView(p, samples)))
  count.textContent = shown.length + " problems"
  if (shown.length > limit) { const more = element("button", "show more"); more.onclick = () => draw(limit + 200); list.append(more) }
}
draw()`
