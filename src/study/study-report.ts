import { escapeHtml } from "../report/charts.ts"
import { reportHtml } from "../report/run-page.ts"
import { type StudyResult, studyTables } from "./analysis.ts"

const cell = (text: string) => text.replaceAll("|", "\\|").replaceAll(/\s+/g, " ")

const paragraphs = ({ about, limits, hours }: StudyResult): string[] => [
  ...(about === "" ? [] : [about.trim()]),
  ...(limits === "" ? [] : [`What it cannot show: ${limits.trim()}`]),
  `${hours.toFixed(2)} hours of training and asking.`,
]

export function studyMarkdown(result: StudyResult): string {
  const line = (row: readonly string[]) => `| ${row.map(cell).join(" | ")} |`
  const tables = studyTables(result).flatMap(({ title, note, rows: [head, ...rows] }) => [
    `## ${title}`,
    ...(note === "" ? [] : [note]),
    [line(head!), line(head!.map(() => "---")), ...rows.map(line)].join("\n"),
  ])
  return `${[`# ${result.study}`, ...paragraphs(result), ...tables].join("\n\n")}\n`
}

export function studyHtml(result: StudyResult): string {
  const about = paragraphs(result).map((text) => `<p>${escapeHtml(text)}</p>`)
  const tables = studyTables(result).map(({ title, note, rows: [head, ...rows] }) => {
    const row = (cells: readonly string[], tag: string) =>
      `<tr>${cells.map((text) => `<${tag}>${escapeHtml(text)}</${tag}>`).join("")}</tr>`
    return `<section><h2>${escapeHtml(title)}</h2><p class="note">${escapeHtml(note)}</p><div class="wide"><table><thead>${row(head!, "th")}</thead><tbody>${rows.map((one) => row(one, "td")).join("")}</tbody></table></div></section>`
  })
  const sections = [`<section>${about.join("")}</section>`, ...tables]
  return reportHtml([], { title: result.study, sections })
}
