// Reads requests from clients before WebAssembly is entered, which then is entered once for each of them.

/** How much of a body that is too large is still taken in and thrown away, as a multiple of what is allowed. */
const DISCARDED_TIMES_MAX = 8;
/** Where bodies are looked at. */
const PATHS_WITH_BODIES = /^\/(trpc\/|stream-ticket$)/;
const METHODS_WITHOUT_BODIES = ["GET", "HEAD", "OPTIONS"];

/** A request's path and query. */
export function locate({ url }) {
  const { pathname, search } = new URL(url);
  return { path: pathname, query: search.slice(1) };
}

/**
 * What decides what a request asks for, as JSON text: when it came, its method, its path and query, and the named headers
 * in their order.
 */
export function describe({ method, headers }, { path, query }, names) {
  const values = names.map((name) => headers.get(name));
  return JSON.stringify([Date.now(), method, path, query, values]);
}

/**
 * Reads a body where one is looked at. Resolves to its bytes, or to the reason why there are none: `too-large`, or
 * `cut-off` when the client stopped sending.
 *
 * It is read piece by piece, since the length that a client says need not be true. One that is too large is read on for a
 * while: a client that is cut off while it writes never reads why.
 */
export async function readBody({ method, body }, { path }, bytesMax) {
  const isRead = !METHODS_WITHOUT_BODIES.includes(method) && PATHS_WITH_BODIES.test(path);
  if (!isRead || body === null) return new Uint8Array();
  const reader = body.getReader();
  let pieces = [];
  let bytes = 0;
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      bytes += next.value.length;
      if (bytes > bytesMax) pieces = [];
      else pieces.push(next.value);
      if (bytes > DISCARDED_TIMES_MAX * bytesMax) break;
    }
  } catch {
    return "cut-off";
  }
  if (bytes > bytesMax) return "too-large";
  return pieces.length === 1 ? pieces[0] : joined(pieces, bytes);
}

function joined(pieces, bytes) {
  const whole = new Uint8Array(bytes);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
