// Waiting for a condition, bounded.

const POLL_MS = 20;

/**
 * Asks `condition` again and again until it answers something other than `undefined` or `false`, and returns that.
 * Throws after `timeoutMs`, saying that `what` did not come.
 */
export async function waitFor<T>(
  what: string,
  condition: () => Promise<T | undefined | false> | T | undefined | false,
  timeoutMs = 20_000,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const answer = await condition();
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > deadline) {
      throw new Error(`${what} did not come within ${timeoutMs / 1000} s`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
