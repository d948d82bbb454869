import type { Lint } from "../data/lints.ts"
import type { PreviewExample, PreviewPicture, PreviewSummary } from "../data/preview-rows.ts"

export interface PageSummary extends Omit<PreviewSummary, "lints"> {
  readonly lints: readonly (Omit<Lint, "code"> & { readonly code: string })[]
}

const ESCAPES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
}

const escaped = (text: string) => text.replaceAll(/[&<>"']/g, (c) => ESCAPES[c]!)

const CLASS_NAMES = ["content", "end of turn", "template"] as const

/** Line breaks are drawn and kept. */
function shownText(token: string): string {
  return escaped(token).replaceAll("\n", '<i class="nl">↵</i>\n')
}

function tokenSpan(
  { token_ids, tokens, loss_mask, token_class }: PreviewExample,
  t: number,
): string {
  const trained = loss_mask[t] === 1
  const kind = `k${token_class[t]}`
  return `<span class="t ${trained ? "on" : "off"} ${kind}" data-i="${t}" data-id="${token_ids[t]}" data-t="${escaped(JSON.stringify(tokens[t]))}">${shownText(tokens[t]!)}</span>`
}

/** In the place of a picture's tokens, the picture's name and size. */
function tokenSpans(example: PreviewExample, from: number, to: number): string {
  const seen = new Map((example.pictures ?? []).map((picture) => [picture.at, picture]))
  let html = ""
  for (let t = from; t < to; ) {
    const picture = seen.get(t)
    html += picture ? pictureSpan(picture) : tokenSpan(example, t)
    t += picture?.tokens ?? 1
  }
  return html
}

const pictureSpan = ({ path, width, height, tokens }: PreviewPicture) =>
  `<span class="t off picture">[picture ${escaped(path)}: ${width}x${height}, ${tokens} tokens]</span>`

/** How many tokens, how many of them trained, and what is odd. */
function meta({ loss_mask, warnings }: PreviewExample): string {
  const trained = loss_mask.reduce((sum, mask) => sum + mask, 0)
  const warned = warnings.map((code) => `<span class="warn">${escaped(code)}</span>`).join(" ")
  return `${loss_mask.length} tokens, ${trained} trained ${warned}`
}

function exampleSection(example: PreviewExample): string {
  return `<section><h2>${escaped(example.source)}</h2>
<p class="meta">${meta(example)}</p>
<pre>${tokenSpans(example, 0, example.tokens.length)}</pre></section>`
}

/** What both sides begin with once, then each from where they part. */
function pairSection(chosen: PreviewExample, rejected: PreviewExample): string {
  const at = chosen.parts_at ?? 0
  const side = (name: string, example: PreviewExample) =>
    `<div><p class="meta"><b>${name}</b> ${meta(example)}</p><pre>${tokenSpans(example, at, example.tokens.length)}</pre></div>`
  return `<section><h2>${escaped(chosen.source)}</h2>
<p class="meta">they part at token ${at + 1}</p>
<pre>${tokenSpans(chosen, 0, at)}</pre>
<div class="pair">${side("chosen", chosen)}${side("rejected", rejected)}</div></section>`
}

/** The sides of a pair come one after the other. */
function sections(examples: readonly PreviewExample[]): string[] {
  return examples.flatMap((example, i) => {
    const next = examples[i + 1]
    if (example.side === "rejected") return []
    return [
      example.side === "chosen" && next ? pairSection(example, next) : exampleSection(example),
    ]
  })
}

const STYLE = `
:root { color-scheme: light dark; --fg: #1c2024; --bg: #fff; --dim: #667079; --line: #d9dee3;
  --on: #d3f2dc; --on-fg: #0b4a23; --end: #f4d9ff; --end-fg: #5b1180; --warn: #fff1c2; --warn-fg: #5c4300; }
@media (prefers-color-scheme: dark) { :root { --fg: #e6e9ec; --bg: #15181b; --dim: #98a2ab; --line: #363c42;
  --on: #14432a; --on-fg: #c9f5d8; --end: #482057; --end-fg: #f3d7ff; --warn: #4a3b08; --warn-fg: #ffe9a8; } }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem; font: 15px/1.5 system-ui, sans-serif; color: var(--fg); background: var(--bg); }
h1 { font-size: 1.35rem; margin: 0 0 .25rem; } h2 { font-size: .95rem; margin: 0; overflow-wrap: anywhere; }
p { margin: .25rem 0; } .meta { color: var(--dim); font-size: .85rem; }
section { border: 1px solid var(--line); border-radius: 8px; padding: .8rem 1rem; margin: 1rem 0; }
pre { margin: .5rem 0 0; white-space: pre-wrap; overflow-wrap: anywhere; font: 13.5px/1.75 ui-monospace, monospace; }
.t { border-radius: 3px; padding: 1px 0; box-decoration-break: clone; } .t:hover { outline: 2px solid currentColor; }
.off { color: var(--dim); } .on { background: var(--on); color: var(--on-fg); }
.on.k1 { background: var(--end); color: var(--end-fg); } .k2 { font-style: italic; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; } .pair > div { border-left: 2px solid var(--line); padding-left: .6rem; min-width: 0; }
.nl { opacity: .5; font-style: normal; } .warn { background: var(--warn); color: var(--warn-fg); border-radius: 4px; padding: 0 .4em; }
ul.lints { padding-left: 1.2rem; } ul.lints small { color: var(--dim); display: block; }
#tip { position: fixed; display: none; pointer-events: none; z-index: 1; background: var(--fg); color: var(--bg);
  padding: .35rem .6rem; border-radius: 6px; font: 12.5px/1.45 ui-monospace, monospace; max-width: 24rem; white-space: pre-wrap; overflow-wrap: anywhere; }`

const SCRIPT = `
const names = ${JSON.stringify(CLASS_NAMES)}
const tip = document.getElementById("tip")
document.addEventListener("pointermove", (event) => {
  const token = event.target.closest?.("pre .t")
  tip.style.display = token ? "block" : "none"
  if (!token) return
  const { i, id, t } = token.dataset
  const kind = names[[0, 1, 2].find((k) => token.classList.contains("k" + k))]
  tip.textContent = "text     " + t + "\\nid       " + id + "\\nposition " + i +
    "\\nmask     " + (token.classList.contains("on") ? "1 (trained)" : "0 (context)") + "\\nclass    " + kind
  const { width, height } = tip.getBoundingClientRect()
  tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 8)) + "px"
  tip.style.top = (event.clientY + height + 24 > innerHeight ? event.clientY - height - 10 : event.clientY + 18) + "px"
})`

/** One page that needs nothing else: hovering a token shows its text, id, mask and class. */
export function previewPage(
  title: string,
  examples: readonly PreviewExample[],
  { rows, complete, tokens, supervisedTokens, lints }: PageSummary,
): string {
  const share = ((100 * supervisedTokens) / Math.max(1, tokens)).toFixed(1)
  const list = lints
    .map(
      ({ code, message, hint }) =>
        `<li><span class="warn">${code}</span> ${escaped(message)}<small>${escaped(hint)}</small></li>`,
    )
    .join("")
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="generator" content="dftune"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)}: what is trained</title><style>${STYLE}</style></head><body>
<h1>${escaped(title)}: what is trained</h1>
<p>${complete ? "All" : "The first"} ${rows.toLocaleString("en-US")} rows: ${tokens.toLocaleString("en-US")} tokens, ${share} % of them trained.</p>
<p class="meta"><span class="t on k0">trained</span> · <span class="t on k1">trained end of turn</span> · <span class="t off">context</span> · <span class="t off k2">template</span> · hover a token for its id, text, mask and class</p>
${list === "" ? "" : `<ul class="lints">${list}</ul>`}
${sections(examples).join("\n")}
<div id="tip"></div><script>${SCRIPT}</script></body></html>
`
}
