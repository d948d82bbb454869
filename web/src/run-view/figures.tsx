import { FIGURES_NOTE, figureRows } from "../../../src/report/figure-rows.ts"
import type { RunFigures } from "../../../src/report/run-figures.ts"
import { Scroll } from "../parts/scroll.tsx"
import { colorAt } from "./curves.tsx"

/** Where runs began and where they ended, with what of it is noise. */
export function Figures({ figures }: { readonly figures: readonly RunFigures[] }) {
  const many = figures.length > 1
  return (
    <section aria-label="From start to end">
      <h2>From start to end</h2>
      <p class="note">{FIGURES_NOTE}</p>
      <Scroll label="Table of the figures">
        <table class="figures">
          {many && (
            <thead>
              <tr>
                <th scope="col">
                  <span class="unseen">Figure</span>
                </th>
                {figures.map(({ run }, i) => (
                  <th key={run} scope="col">
                    <i class="swatch" style={{ background: `var(${colorAt(i)})` }} />
                    {run}
                  </th>
                ))}
              </tr>
            </thead>
          )}
          <tbody>
            {figureRows(figures).map(({ label, meaning, cells }) => (
              <tr key={label}>
                <th scope="row">
                  {label} <span class="note">{meaning}</span>
                </th>
                {cells.map((cell, i) => (
                  <td key={figures[i]!.run} class="number">
                    {cell}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </section>
  )
}
