// What a run comes to: ratios with their limits, and figures that have none.

import type { Estimate } from "../statistics.ts";

/** A ratio that has a limit. */
export interface Claim {
  /** Which part of the bench it is from. */
  group: string;
  /** What is compared, such as `sendMessageV2 with rotation, 16 in flight, against the floor`. */
  name: string;
  value: Estimate;
  /** The most, or where `atLeast` is true the least, that it may be. */
  limit: number;
  atLeast?: boolean;
  unit?: string;
}

/** A measurement for information. */
export interface Figure {
  group: string;
  name: string;
  value: Estimate;
  unit: string;
}

/** Points of the plots: by the length of the session's past. */
export interface HistoryPoint {
  messages: number;
  latencyMs: Estimate;
  rowsWritten: number;
  rowsRead: number;
  bytesBound: number;
}

/** A whole run. */
export interface Results {
  startedAt: string;
  machine: string;
  rounds: number;
  claims: Claim[];
  figures: Figure[];
  history: HistoryPoint[];
}

/** A claim is met when the 95 % bound of its median is within the limit. */
export function isMet({ value, limit, atLeast = false }: Claim): boolean {
  return atLeast ? value.low >= limit : value.high <= limit;
}

/** A number that was counted, not measured. */
export function exactly(value: number): Estimate {
  return { median: value, low: value, high: value };
}
