// How set-up speaks: plain progress lines, and one sentence when something cannot be had.

/** A condition that ends set-up. The message is one sentence for the person at the terminal. */
export class SetupError extends Error {}

/** Prints one progress line. */
export function say(line) {
  console.log(`setup: ${line}`);
}
