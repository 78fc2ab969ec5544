/** Targets, medians and the table at the end. */

export const ratioAtLeast = least => ({ text: `≥ ${least}×`, met: ({ ratio }) => ratio >= least });
export const ratioBelow = most => ({ text: `< ${most}×`, met: ({ ratio }) => ratio < most });
export const atMost = most => ({ text: `≤ ${most}`, met: ({ postroom }) => postroom <= most });

/** `rows`: label, target, and the figures of every round of `baseline` and `postroom`; one of these may be missing. */
export function table(rows) {
  const head = ['question', 'baseline', 'Postroom', 'ratio', 'target', ''];
  const lines = [head, ...rows.map(cells)];
  const widths = head.map((_, column) => Math.max(...lines.map(line => line[column].length)));
  const rule = widths.map(width => '-'.repeat(width)).join('  ');
  const [first, ...rest] = lines.map(line => line.map(align(widths)).join('  ').trimEnd());
  return [first, rule, ...rest].join('\n');
}

export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Such measurements are good for three digits; whole numbers are shown whole. */
export function figure(value) {
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value) || 1)));
  return value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** A count in a label: 10,000. */
export function count(value) {
  return value.toLocaleString('en');
}

function cells({ label, target, baseline, postroom }) {
  const medians = {
    baseline: baseline.length ? median(baseline) : undefined,
    postroom: postroom.length ? median(postroom) : undefined,
  };
  const ratio = medians.postroom / medians.baseline;
  const complete = Number.isFinite(ratio);
  return [
    label,
    shown(medians.baseline),
    shown(medians.postroom),
    complete ? `${figure(ratio)}×` : '–',
    target?.text ?? '',
    complete && target ? (target.met({ ...medians, ratio }) ? 'met' : 'MISSED') : '',
  ];
}

function shown(value) {
  return value === undefined ? '–' : figure(value);
}

/** Words to the left, figures to the right. */
function align(widths) {
  return (cell, column) =>
    column === 0 || column === 5 ? cell.padEnd(widths[column]) : cell.padStart(widths[column]);
}
