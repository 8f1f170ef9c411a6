/** Prints tables in Markdown, as docs/operations.md has them. */
export function printSummary(parts: Record<string, Record<string, number>>): void {
  for (const [title, counts] of Object.entries(parts)) {
    console.log(`\n| ${title} | number |\n| --- | --- |`)
    for (const [name, count] of Object.entries(counts)) console.log(`| ${name} | ${count.toLocaleString('en')} |`)
  }
  console.log('')
}
