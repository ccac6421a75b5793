// Random numbers that a seed repeats.

/** A stream of random numbers (mulberry32). Two streams of the same seed and name give the same numbers. */
export class Random {
  #state: number;

  constructor(seed: number, name: string) {
    this.#state = seed >>> 0;
    for (const character of name) {
      this.#state = Math.imul(this.#state ^ (character.codePointAt(0) ?? 0), 0x01000193) >>> 0;
    }
  }

  /** At least 0 and less than 1. */
  unit(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** At least `low` and less than `high`. */
  between(low: number, high: number): number {
    return low + this.unit() * (high - low);
  }

  /** Whether something of this probability happens. */
  chance(probability: number): boolean {
    return this.unit() < probability;
  }

  /** `count` whole numbers below `limit`, in rising order. */
  moments(count: number, limit: number): number[] {
    const moments = Array.from({ length: count }, () => Math.floor(this.unit() * limit));
    return moments.sort((one, other) => one - other);
  }
}
