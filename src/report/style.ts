export const REPORT_STYLE = `
:root { color-scheme: light dark; --ink: #1c1c1c; --pale: #666; --line: #ddd; --paper: #fff; --card: #f7f7f5 }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e6; --pale: #a0a0a0; --line: #3a3a3a; --paper: #161616; --card: #202020 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1400px; padding: 1.5rem; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; overflow-wrap: anywhere } h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem }
h4 { font-size: .9rem; margin: 0; overflow-wrap: anywhere }
header p { margin: .15rem 0 } small, .note { color: var(--pale); font-size: .85em; font-weight: 400 }
.note { max-width: 75ch; margin: 0 0 .8rem; font-size: .9rem }
.swatch { display: inline-block; width: .7em; height: .7em; border-radius: 2px; margin-right: .45em }
.wide { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; font-weight: 400 }
thead th, tbody th { font-weight: 600 } td { overflow-wrap: anywhere; min-width: 6rem; max-width: 34rem }
thead th { overflow-wrap: anywhere; min-width: 6rem; max-width: 16rem } tbody th { min-width: 8rem }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1.2rem; margin: 0 0 .6rem; font-size: .9rem; overflow-wrap: anywhere }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); gap: 1rem }
figure { margin: 0; padding: .6rem .8rem .2rem; background: var(--card); border-radius: 6px }
figcaption { font-size: .85rem; font-weight: 600; overflow-wrap: anywhere }
svg { width: 100%; height: auto; display: block } svg path { fill: none; stroke-width: 1.8; stroke-linejoin: round }
svg path.raw { opacity: .3; stroke-width: 1 } .grid line { stroke: var(--line) } .grid text { fill: var(--pale); font-size: 10.5px }
.warnings { padding-left: 1.1rem } .warnings li { margin-bottom: .5rem }
article { border-top: 1px solid var(--line); padding: .8rem 0 } pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .3rem 0; font: 13px/1.55 ui-monospace, monospace }
.prompt { color: var(--pale) } .side { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 270px), 1fr)); gap: 1rem }
.side > div { background: var(--card); border-radius: 6px; padding: .6rem .8rem; min-width: 0 }
.samples input { position: absolute; opacity: 0 } .samples input:checked + label { background: var(--ink); color: var(--paper) }
.samples input:focus-visible + label { outline: 2px solid #56b4e9 }
.samples label { display: inline-block; margin: 0 .4rem .6rem 0; padding: .1rem .6rem; border: 1px solid var(--line); border-radius: 6px; cursor: pointer; font-size: .9rem } summary { cursor: pointer; color: var(--pale); font-size: .85rem }
.tokens span { --v: var(--p); background: hsl(calc(8 + 130 * var(--v)) 70% 55% / calc(.55 - .42 * var(--v))); border-radius: 2px }
#by-weight:checked ~ article .tokens span { --v: var(--w) }
#by-weight:checked ~ article .unweighted span, #by-nothing:checked ~ article .tokens span { background: none }
.scale { color: var(--pale); font-size: .85rem } .scale i { display: inline-block; width: 6rem; height: .7em; margin-right: .4em; border-radius: 2px; background: linear-gradient(90deg, hsl(8 70% 55% / .55), hsl(73 70% 55% / .34), hsl(138 70% 55% / .13)) }
@media print { body { max-width: none } figure, .side > div { break-inside: avoid } }
`
