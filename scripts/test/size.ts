// The size of the WebAssembly module: what is uploaded, and compiled at every cold start.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { workerBuildFolder } from "../support/configuration.ts";

/**
 * Most bytes of the compressed module. Above the 300 KB that are aimed at: docs/performance.md says what stands in the
 * way. It is there to catch what grows by accident.
 */
export const WASM_GZIP_BYTES_MAX = 510_000;

/** Bytes of the built module, as it is and compressed. */
export function wasmSize(): { raw: number; gzip: number } {
  const module = readFileSync(join(workerBuildFolder(), "index_bg.wasm"));
  return { raw: module.length, gzip: gzipSync(module, { level: 9 }).length };
}
