import { readFileSync } from 'node:fs';

/** The code block after `<!-- snippet: name -->` in README.md or another file: tests run what is printed there. */
export function snippet(name: string, file = 'README.md'): string {
  const readme = readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8');
  const marker = `<!-- snippet: ${name} -->`;
  const start = readme.indexOf(marker);
  if (start === -1) throw new Error(`${file} has no ${marker}`);
  const block = /^\s*```[^\n]*\n([\s\S]*?)\n```/.exec(readme.slice(start + marker.length));
  if (!block?.[1]) throw new Error(`${file}: no fenced block follows ${marker}`);
  return block[1];
}
