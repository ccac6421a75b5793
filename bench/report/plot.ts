// Latency and storage cost against the length of a session's past, as an SVG picture.

import type { HistoryPoint } from "./results.ts";

const WIDTH = 720;
const PANEL_HEIGHT = 260;
const MARGIN = { left: 90, right: 30, top: 40, bottom: 50 };

interface Series {
  name: string;
  color: string;
  values: { x: number; y: number; low?: number; high?: number }[];
}

/** The picture: latency above, rows and bytes below. */
export function plot(points: readonly HistoryPoint[]): string {
  const x = ({ messages }: HistoryPoint) => messages;
  const latency: Series = {
    name: "milliseconds a message",
    color: "#1f6feb",
    values: points.map((point) => ({
      x: x(point),
      y: point.latencyMs.median,
      low: point.latencyMs.low,
      high: point.latencyMs.high,
    })),
  };
  const line = (name: string, color: string, y: (point: HistoryPoint) => number): Series => ({
    name,
    color,
    values: points.map((point) => ({ x: x(point), y: y(point) })),
  });
  const panels = [
    panel("Latency of an admission with rotation", [latency]),
    panel("Rows of an admission with rotation", [
      line("rows written", "#cf222e", (point) => point.rowsWritten),
      line("rows read", "#8250df", (point) => point.rowsRead),
    ]),
    panel("Bytes of an admission with rotation", [
      line("bytes bound to statements", "#1a7f37", (point) => point.bytesBound),
    ]),
  ];
  const placed = panels.map(
    (content, index) => `<g transform="translate(0 ${index * PANEL_HEIGHT})">${content}</g>`,
  );
  const height = panels.length * PANEL_HEIGHT;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12">`,
    "<title>What an admission costs, by the length of its session's past</title>",
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`,
    ...placed,
    "</svg>",
    "",
  ].join("\n");
}

function panel(title: string, series: readonly Series[]): string {
  const values = series.flatMap(({ values }) => values);
  const top = Math.max(...values.map(({ y, high }) => Math.max(y, high ?? y))) * 1.15;
  const [first, last] = [
    Math.min(...values.map(({ x }) => x)),
    Math.max(...values.map(({ x }) => x)),
  ];
  const span = Math.log10(last / first) || 1;
  const left = MARGIN.left;
  const right = WIDTH - MARGIN.right;
  const bottom = PANEL_HEIGHT - MARGIN.bottom;
  const xAt = (x: number) => left + (Math.log10(x / first) / span) * (right - left);
  const yAt = (y: number) => bottom - (y / top) * (bottom - MARGIN.top);
  const parts = [
    `<text x="${left}" y="22" font-size="14" font-weight="bold">${title}</text>`,
    `<path d="M${left} ${MARGIN.top}V${bottom}H${right}" fill="none" stroke="#57606a"/>`,
    `<text x="${(left + right) / 2}" y="${bottom + 38}" text-anchor="middle">messages in the session so far</text>`,
  ];
  for (const x of new Set(values.map((value) => value.x))) {
    parts.push(
      `<text x="${xAt(x)}" y="${bottom + 18}" text-anchor="middle">${x.toLocaleString("en")}</text>`,
    );
  }
  for (const part of [0, 0.25, 0.5, 0.75, 1]) {
    const y = top * part;
    parts.push(
      `<path d="M${left} ${yAt(y)}H${right}" stroke="#d0d7de"/>`,
      `<text x="${left - 8}" y="${yAt(y) + 4}" text-anchor="end">${label(y)}</text>`,
    );
  }
  for (const [index, { name, color, values: points }] of series.entries()) {
    const path = points.map(({ x, y }) => `${xAt(x)} ${yAt(y)}`).join("L");
    parts.push(`<path d="M${path}" fill="none" stroke="${color}" stroke-width="2"/>`);
    for (const { x, y, low, high } of points) {
      parts.push(`<circle cx="${xAt(x)}" cy="${yAt(y)}" r="3" fill="${color}"/>`);
      if (low !== undefined && high !== undefined) {
        parts.push(`<path d="M${xAt(x)} ${yAt(low)}V${yAt(high)}" stroke="${color}"/>`);
      }
    }
    parts.push(
      `<text x="${right}" y="${22 + index * 16}" text-anchor="end" fill="${color}">${name}</text>`,
    );
  }
  return parts.join("");
}

function label(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString("en") : value.toFixed(value >= 10 ? 1 : 2);
}
