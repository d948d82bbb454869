import { printable } from "../host/printable.ts"
import { escapeHtml } from "../report/charts.ts"
import { reportHtml } from "../report/run-page.ts"
import type { StudyResult } from "./analysis.ts"
import { studyTables } from "./study-tables.ts"

/** Text that is no tag of HTML in Markdown, and says nothing to a terminal. */
const plain = (text: string) => printable(text).replaceAll(/<(?=[a-z/!?])/gi, "&lt;")

/** The same as one line of a table or a title. */
const line = (text: string) =>
  plain(text.replaceAll("\\", "\\\\")).replaceAll("|", "\\|").replaceAll(/\s+/g, " ")

const paragraphs = ({ about, limits, hours }: StudyResult): string[] => [
  ...(about === "" ? [] : [about.trim()]),
  ...(limits === "" ? [] : [`What it cannot show: ${limits.trim()}`]),
  `${hours.toFixed(2)} hours of training and asking.`,
]

export function studyMarkdown(result: StudyResult): string {
  const row = (cells: readonly string[]) => `| ${cells.map(line).join(" | ")} |`
  const tables = studyTables(result).flatMap(({ title, note, rows: [head, ...rows] }) => [
    `## ${title}`,
    ...(note === "" ? [] : [note]),
    [row(head!), row(head!.map(() => "---")), ...rows.map(row)].join("\n"),
  ])
  return `${[`# ${line(result.study)}`, ...paragraphs(result).map(plain), ...tables].join("\n\n")}\n`
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
