// Medians and their 95 % bounds.

/** A median and the bounds that it lies between with 95 % confidence. */
export interface Estimate {
  median: number;
  low: number;
  high: number;
}

/** Half the width of a 95 % interval, in standard deviations. */
const Z = 1.96;

/** The middle of some numbers. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((left, right) => left - right);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/**
 * The median with bounds from order statistics: how many values lie below the true median is binomial, whatever they
 * are distributed like. With fewer than six values the bounds are the extremes and hold with less confidence.
 */
export function estimate(values: readonly number[]): Estimate {
  const sorted = values.toSorted((left, right) => left - right);
  const count = sorted.length;
  const spread = (Z * Math.sqrt(count)) / 2;
  const lowest = Math.max(0, Math.floor(count / 2 - spread) - 1);
  const highest = Math.min(count - 1, Math.ceil(count / 2 + spread));
  return {
    median: median(values),
    low: sorted[lowest] ?? Number.NaN,
    high: sorted[highest] ?? Number.NaN,
  };
}

/** The estimate of the quotient of values that were measured side by side. */
export function ratio(numerators: readonly number[], denominators: readonly number[]): Estimate {
  if (numerators.length !== denominators.length) throw new Error("rounds are missing");
  return estimate(numerators.map((value, index) => value / (denominators[index] ?? Number.NaN)));
}

/** The estimate of how much more the first values are than those that were measured beside them. */
export function difference(values: readonly number[], others: readonly number[]): Estimate {
  if (values.length !== others.length) throw new Error("rounds are missing");
  return estimate(values.map((value, index) => value - (others[index] ?? Number.NaN)));
}
