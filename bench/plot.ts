// Plots for docs/benchmarks.md: bars and lines as plain SVG, readable on light and dark pages.

export type Bar = { readonly label: string; readonly value: number };

const ink = '#808080';
const ours = '#2a78d6';
const rival = '#b0b0b0';
/** For more series than two. */
const others = ['#d9822b', '#3aa655', '#a05195', '#c94f4f'];
const font = 'font-family="sans-serif" font-size="13"';

/** Horizontal bars in the order given; those whose label starts with `Pavostore` or names a part of it by `isOurs` stand out. */
export function barChart(options: { title: string; unit: string; bars: readonly Bar[]; isOurs: (label: string) => boolean }): string {
  const { title, unit, bars, isOurs } = options;
  const max = Math.max(...bars.map(({ value }) => value));
  const rows = bars.map(({ label, value }, i) => {
    const y = 34 + 26 * i;
    const width = Math.max(1, (360 * value) / max);
    return (
      `<text x="210" y="${y + 14}" text-anchor="end" fill="${ink}">${escapeXml(label)}</text>` +
      `<rect x="218" y="${y}" width="${width.toFixed(1)}" height="18" fill="${isOurs(label) ? ours : rival}"/>` +
      `<text x="${(224 + width).toFixed(1)}" y="${y + 14}" fill="${ink}">${numberOf(value)} ${escapeXml(unit)}</text>`
    );
  });
  return svg(680, 44 + 26 * bars.length, title, rows.join('\n'));
}

/** One or more series over the same axis, x from 0. */
export function lineChart(options: {
  title: string;
  xLabel: string;
  yLabel: string;
  series: readonly { readonly label: string; readonly points: readonly (readonly [x: number, y: number])[] }[];
}): string {
  const { title, xLabel, yLabel, series } = options;
  const all = series.flatMap(({ points }) => points);
  const xMax = Math.max(...all.map(([x]) => x));
  const [yMin, yMax] = [Math.min(...all.map(([, y]) => y)), Math.max(...all.map(([, y]) => y))];
  const place = ([x, y]: readonly [number, number]): string =>
    `${(60 + (560 * x) / xMax).toFixed(1)},${(250 - (200 * (y - yMin)) / (yMax - yMin || 1)).toFixed(1)}`;
  const lines = series.map(({ label, points }, i) => {
    const color = i === 0 ? ours : series.length === 2 ? rival : others[(i - 1) % others.length]!;
    // Many of them would hide the lines.
    const [labelX, labelY] = series.length > 2 ? [60 + 84 * i, 270] : [64, 60 + 16 * i];
    const [, endY] = place(points.at(-1)!).split(',');
    return (
      `<polyline fill="none" stroke="${color}" stroke-width="2" points="${points.map(place).join(' ')}"/>` +
      `<text x="${labelX}" y="${labelY}" fill="${color}">${escapeXml(label)}</text><circle cx="${(60 + (560 * points.at(-1)![0]) / xMax).toFixed(1)}" cy="${endY}" r="3" fill="${color}"/>`
    );
  });
  const axes =
    `<path d="M60 40V250H620" fill="none" stroke="${ink}"/>` +
    `<text x="620" y="270" text-anchor="end" fill="${ink}">${escapeXml(xLabel)}, to ${numberOf(xMax)}</text>` +
    `<text x="54" y="254" text-anchor="end" fill="${ink}">${numberOf(yMin)}</text><text x="54" y="54" text-anchor="end" fill="${ink}">${numberOf(yMax)}</text>` +
    `<text x="60" y="34" fill="${ink}">${escapeXml(yLabel)}</text>`;
  return svg(680, 280, title, `${axes}\n${lines.join('\n')}`);
}

function svg(width: number, height: number, title: string, body: string): string {
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" ${font} role="img">\n` +
    `<title>${escapeXml(title)}</title>\n<text x="8" y="18" fill="${ink}" font-weight="bold">${escapeXml(title)}</text>\n${body}\n</svg>\n`
  );
}

function numberOf(value: number): string {
  return value >= 1_000 ? Math.round(value).toLocaleString('en-US') : String(Number(value.toPrecision(3)));
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}
