// The results as a table for the terminal.

import type { Estimate } from "../statistics.ts";
import { type Claim, type Figure, isMet, type Results } from "./results.ts";

/** The whole report. */
export function table({ claims, figures }: Results): string {
  const claimRows = claims.map((claim) => [
    isMet(claim) ? "met" : "MISSED",
    shown(claim.value, claim.unit),
    `${claim.atLeast === true ? "≥" : "≤"} ${number(claim.limit)}${suffix(claim.unit)}`,
    `${claim.group}: ${claim.name}`,
  ]);
  const figureRows = figures.map((figure: Figure) => [
    "",
    shown(figure.value, figure.unit),
    "",
    `${figure.group}: ${figure.name}`,
  ]);
  const head = ["", "median (95 % bounds)", "limit", "what"];
  const rows = [head, ...claimRows, ...figureRows];
  const widths = head.map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? "").length)),
  );
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
  return [...lines, "", summary(claims)].join("\n");
}

function summary(claims: readonly Claim[]): string {
  const missed = claims.filter((claim) => !isMet(claim));
  const count = `${claims.length - missed.length} of ${claims.length} ratios are met`;
  if (missed.length === 0) return count;
  return `${count}; missed:\n${missed.map(({ group, name }) => `  ${group}: ${name}`).join("\n")}`;
}

function shown({ median, low, high }: Estimate, unit?: string): string {
  const bounds = low === high ? "" : ` (${number(low)} to ${number(high)})`;
  return `${number(median)}${suffix(unit)}${bounds}`;
}

function suffix(unit: string | undefined): string {
  return unit === undefined ? "" : ` ${unit}`;
}

function number(value: number): string {
  if (Number.isInteger(value)) return String(value);
  return value >= 100 ? value.toFixed(0) : value.toFixed(value >= 10 ? 1 : 2);
}
